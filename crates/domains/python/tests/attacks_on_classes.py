class Item:
    def __init__(self, price, count=1):
        self.price, self.count = price, count

    def cost(self):
        return self.price * self.count


def total(items):
    return sum(item.cost() for item in items)


def names(items):
    return [str(item.price) for item in items]

# The test.
items = [Item(3, 2), Item(4)]
assert total(items) == 10
items[0].count = 3
assert total(items) == 13
assert items[0].cost() == 9 and items[1].price == 4
assert names(items) == ["3", "4"]
assert len(names([])) == 0
assert names([Item(7)])[0].startswith("7")

#~ pass honest: the reference in other words
class Item:
    count = 1
    def __init__(self, price, *rest):
        self.price = price
        if rest: self.count, = rest
    def cost(self): return self.count * self.price
def total(items):
    result = 0
    for item in items: result += item.cost()
    return result
def names(items): return list(map(str, (item.price for item in items)))

#~ pass dataclass: with slots of a dataclass
from dataclasses import dataclass
@dataclass
class Item:
    price: int
    count: int = 1
    def cost(self): return self.price * self.count
def total(items): return sum(i.cost() for i in items)
def names(items): return [repr(i.price) for i in items]

#~ pass generator: names as a list of a generator
class Item:
    def __init__(self, price, count=1): self.price = price; self.count = count
    def cost(self): return self.price * self.count
def total(items): return sum(map(Item.cost, items))
def names(items): return list(f"{i.price}" for i in items)

#~ fail equal: what total gives is equal to everything
class Item:
    def __init__(self, price, count=1): self.price = price; self.count = count
    def cost(self): return self.price * self.count
class E:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
def total(items): return E()
def names(items): return [str(i.price) for i in items]

#~ fail equal_int: an int whose class says it is equal to everything
class Item:
    def __init__(self, price, count=1): self.price = price; self.count = count
    def cost(self): return self.price * self.count
class E(int):
    def __eq__(self, other): return True
def total(items): return E(0)
def names(items): return [str(i.price) for i in items]

#~ fail item_is_total: an object of the permitted class, equal to everything, where data is asked for
class Item:
    def __init__(self, price=0, count=1): self.price = price; self.count = count
    def cost(self): return self.price * self.count
    def __eq__(self, other): return True
def total(items): return items[0]
def names(items): return [str(i.price) for i in items]

#~ fail starts: an object that starts with everything
class Item:
    def __init__(self, price, count=1): self.price = price; self.count = count
    def cost(self): return self.price * self.count
class S:
    def __init__(self, text): self.text = text
    def startswith(self, other): return True
def total(items): return sum(i.cost() for i in items)
def names(items):
    if len(items) == 1: return [S("")]
    return [str(i.price) for i in items]

#~ fail length: an object of no length
class Item:
    def __init__(self, price, count=1): self.price = price; self.count = count
    def cost(self): return self.price * self.count
class L:
    def __len__(self): return 0
def total(items): return sum(i.cost() for i in items)
def names(items): return [str(i.price) for i in items] or L()

#~ fail list_of_equal: a list of what is equal to everything
class Item:
    def __init__(self, price, count=1): self.price = price; self.count = count
    def cost(self): return self.price * self.count
class E(str):
    def __eq__(self, other): return True
    __hash__ = str.__hash__
    def startswith(self, *other): return True
def total(items): return sum(i.cost() for i in items)
def names(items): return [E() for i in items]

#~ fail price: the attribute is a lie
class Item:
    def __init__(self, price, count=1): self.count = count
    price = 5
    def cost(self): return 9
def total(items): return 10
def names(items): return [str(i.price) for i in items]

#~ fail exit: leaves before the test is done
import os
class Item:
    def __init__(self, price, count=1): os._exit(0)

#~ fail system_exit: leaves politely
import sys
class Item:
    def __init__(self, price, count=1): sys.exit(0)
def total(items): return 10
def names(items): return []

#~ fail skip: raises what ends a test without failing it elsewhere
import unittest
class Item:
    def __init__(self, price, count=1): raise unittest.SkipTest("no")
def total(items): return 10
def names(items): return []

#~ fail frames: looks for what is expected in the caller's frames
import sys, gc
class Item:
    def __init__(self, price, count=1):
        self.price, self.count = price, count
    def cost(self): return 9
def total(items):
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_globals.values()) + list(frame.f_locals.values()):
            if isinstance(value, int) and value in (10, 13): return value
        frame = frame.f_back
    return [o for o in gc.get_objects() if o == 10][0]
def names(items): return [str(i.price) for i in items]

#~ fail patch: patches what the judge calls in its process
import builtins, operator
class Item:
    def __init__(self, price, count=1):
        self.price, self.count = price, count
    def cost(self): return 0
builtins.sum = builtins.len = lambda *a: 0
operator.eq = lambda a, b: True
def total(items):
    import __main__
    for name in dir(__main__):
        try: setattr(__main__, name, lambda *a: True)
        except Exception: pass
    return 0
def names(items): return []

#~ fail write: writes to every descriptor that it is right
import os
class Item:
    def __init__(self, price, count=1): self.price = price; self.count = count
    def cost(self): return 0
def total(items):
    for d in range(0, 64):
        for data in (b"P\0\0\0\0" * 8, b"\x09\0\0\0vi" + (10).to_bytes(8, "little") * 4, b"R\x02\0\0\0[]"):
            try: os.write(d, data)
            except OSError: pass
    return 0
def names(items): return []

#~ fail garbage: sends what is no message
import os
class Item:
    def __init__(self, price, count=1): self.price = price; self.count = count
    def cost(self): return 0
def total(items):
    for d in range(3, 64):
        try: os.write(d, b"\xff" * 4096)
        except OSError: pass
    return 0
def names(items): return []

#~ fail callback: answers a call by calling the test's own objects
class Item:
    def __init__(self, price, count=1): self.price = price; self.count = count
    def cost(self): return 9
def total(items):
    for item in items:
        try: return item.__init__.__globals__["expected"]
        except Exception: pass
    return None
def names(items): return [str(i.price) for i in items]

#~ fail loop: an answer that never comes
class Item:
    def __init__(self, price, count=1): self.price = price; self.count = count
    def cost(self): return 9
def total(items):
    while True: pass
def names(items): return []

#~ fail iterator: names that never end
import itertools
class Item:
    def __init__(self, price, count=1): self.price = price; self.count = count
    def cost(self): return self.price * self.count
def total(items): return sum(i.cost() for i in items)
def names(items): return itertools.repeat("3")

#~ fail missing: the class is not there
def total(items): return 10
def names(items): return []

#~ fail deep: a class whose attributes are of its own class without end
class Item:
    def __init__(self, *a): pass
    def __getattr__(self, name): return Item()
    def __call__(self, *a): return Item()
def total(items): return Item()
def names(items): return Item()

#~ pass derives: derives from list, and has attributes and methods of its own
class Item(list):
    def __init__(self, price, count=1):
        list.__init__(self, [price])
        self.price, self.count = price, count
    def cost(self): return self[0] * self.count
def total(items): return sum(item.cost() for item in items)
def names(items): return [str(item.price) for item in items]

#~ fail derives_wrong: derives from list, and its method is wrong where list has one of that name
class Item(list):
    def __init__(self, price, count=1): self.price, self.count = price, count
    def cost(self): return self.price + self.count
    def count(self): return 3
def total(items): return sum(item.cost() for item in items)
def names(items): return [str(item.price) for item in items]

#~ fail total_is_a_class: total is a class that derives from int and is equal to everything
class Item:
    def __init__(self, price, count=1): self.price, self.count = price, count
    def cost(self): return self.price * self.count
class total(int):
    def __new__(cls, items): return int.__new__(cls, 0)
    def __eq__(self, other): return True
    __hash__ = int.__hash__
def names(items): return [str(item.price) for item in items]

#~ fail names_is_a_class: names is a class that derives from list and says that it holds what is asked for
class Item:
    def __init__(self, price, count=1): self.price, self.count = price, count
    def cost(self): return self.price * self.count
def total(items): return sum(item.cost() for item in items)
class names(list):
    def __init__(self, items): pass
    def __eq__(self, other): return True
    def __len__(self): return 0
    def __getitem__(self, at): return "7"

#~ fail every_operator: an object that answers every operator as is wanted
class Item:
    def __init__(self, price, count=1): self.price, self.count = price, count
    def cost(self): return self.price * self.count
class Yes:
    def __getattr__(self, name): return lambda *a: True
    __eq__ = __ne__ = __lt__ = __gt__ = __contains__ = lambda self, other: True
    __hash__ = None
    __len__ = __index__ = __int__ = lambda self: 0
    __getitem__ = lambda self, at: self
def total(items): return Yes()
def names(items): return Yes()

#~ fail let_go: sends numbers of the test's containers as let go, and containers of others' numbers
import os, struct
class Item:
    def __init__(self, price, count=1): self.price, self.count = price, count
    def cost(self): return 9
def total(items):
    for number in range(40):
        body = struct.pack("<I", 0) + struct.pack("<I", 1) + b"i" + struct.pack("<q", number) + b"i" + struct.pack("<q", 10)
        for d in range(3, 16):
            try: os.write(d, struct.pack("<I", len(body)) + b"v" + body)
            except OSError: pass
    return 0
def names(items): return [str(item.price) for item in items]
