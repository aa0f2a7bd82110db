"""The two ends of the channel between a test and a candidate."""


class Peer(Writing, Reading):
    """One end."""

    def __init__(self, descriptor, tester, read=os.read, write=os.write):
        self.descriptor, self.tester, self.read, self.write = descriptor, tester, read, write
        self.buffer = b""
        self.data, self.at, self.end = b"", 0, 0
        # Containers that both sides hold, by number; the numbers of each side's own differ in the last bit.
        self.shared, self.numbers, self.next_number = {}, {}, 2 if tester else 3
        self.look_at = FEW
        # What of them the other side knows, and what is learnt of that while a message is written.
        self.known, self.learnt, self.unchanged = {}, {}, NONE
        # Objects that stay here, and proxies of those that stay there.
        self.kept, self.kept_numbers, self.proxies, self.proxy_numbers = [], {}, {}, {}
        self.written, self.touched, self.depth = set(), [], 0
        self.calls = 0
        # What proxies that are keys gave for that.
        self.hashes = {}
        # NaNs that have crossed, by number: the first is Python's own.
        self.nans, self.nan_numbers = {0: math.nan}, {id(math.nan): 0}
        # Proxies' classes, by what their objects are; special methods, by class; the classes of the problem's setup.
        self.classes, self.special, self.setup_classes = {}, {}, {}
        self.know_singles({})
        # Whether the value at hand is what the call of a class gives.
        self.constructing, self.is_constructed = False, False
        self.writers = {
            int: self.write_int, float: self.write_float, str: self.write_str, bool: self.write_bool,
            type(None): self.write_none, tuple: self.write_tuple, bytes: self.write_bytes,
            complex: self.write_complex, frozenset: self.write_frozenset, range: self.write_range,
            slice: self.write_slice,
            decimal.Decimal: self.write_decimal, fractions.Fraction: self.write_fraction,
        }
        self.writers.update(dict.fromkeys(CONTAINERS, self.write_container))
        self.writers.update(dict.fromkeys(KEY_VIEWS, self.write_view))
        self.readers = [self.read_garbage] * 256
        for name, reader in READERS.items():
            self.readers[ord(name)] = getattr(self, reader)
        for tag in KIND_OF:
            self.readers[tag] = self.read_container
        self.label, self.exits = "call", []

    # Messages.

    def send(self, kind, parts):
        data = b"".join(parts)
        data = COUNT.pack(len(data)) + kind + data
        sent = self.write(self.descriptor, data)
        while sent < len(data):
            data = data[sent:]
            sent = self.write(self.descriptor, data)

    def receive(self):
        """The next message's kind; its values are then read by `value`."""
        data = self.buffer
        while len(data) < 5 or len(data) < 5 + COUNT.unpack_from(data)[0]:
            # Room for what is known to come: a large buffer is mapped anew for each message.
            rest = 5 + COUNT.unpack_from(data)[0] - len(data) if len(data) >= 5 else 0
            more = self.read(self.descriptor, min(max(rest, AT_ONCE), 1 << 20))
            if not more:
                raise Gone
            data = data + more if data else more
        end = 5 + COUNT.unpack_from(data)[0]
        self.buffer = data[end:]
        self.data, self.at, self.end = data, 5, end
        return data[4]

    def message(self, values, updates=()):
        """The parts of a message of some values and what has to be brought up to date besides."""
        try:
            return self.parts_of(values, updates)
        except RecursionError:
            sys.setrecursionlimit(20000)
            return self.parts_of(values, updates)

    def parts_of(self, values, updates):
        self.written, self.learnt, self.depth = set(), {}, 0
        changed, idle = self.look_at_shared() if self.shared else ([], [])
        changed.extend(number for number in updates if number not in self.unchanged and number in self.shared)
        parts = self.news(changed, idle) if changed or idle else [NOTHING_NEW]
        for value in values:
            self.put(value, parts)
        # Only now: what could not be written, the other side is not told.
        self.known.update(self.learnt)
        for number in idle:
            self.let_go(number)
        return parts

    def news(self, changed, idle):
        """What has changed, and what is let go."""
        parts, count = [], 0
        for number in changed:
            if number not in self.written:
                self.write_container(self.shared[number], parts)
                count += 1
        parts.insert(0, COUNT.pack(count))
        self.write_items(b"", idle, parts)
        return parts

    def look_at_shared(self):
        """The numbers of containers that have changed since the other side was told, and of those that
        nothing but the table holds any longer: where the other side still has one, it comes back as a
        new one, and nobody here can tell."""
        changed, idle, unchanged, room = [], [], set(), MOST_CHECKED
        count, fewest, known, same = sys.getrefcount, FEWEST, self.known, operator.is_
        for number, container in list(self.shared.items()):
            state = known.get(number)
            if state is None:
                continue
            room -= len(state) + 1
            if room < 0:
                unchanged = NONE
                break
            if type(container) is list:
                is_same = len(container) == len(state) and all(map(same, container, state))
            else:
                is_same = is_in_state(container, state)
            if is_same:
                unchanged.add(number)
            else:
                changed.append(number)
            if count(container) <= fewest:
                idle.append(number)
        if room < 0:
            self.look_for_idle(changed, idle)
        self.unchanged = unchanged
        return changed, idle

    def look_for_idle(self, changed, idle):
        """Adds, where the table has grown, what nothing else holds any longer to both lists."""
        if len(self.shared) > self.look_at:
            idle[:] = [number for number in held_by_none_but(self.shared) if number in self.known]
            changed.extend(number for number in idle if not is_in_state(self.shared[number], self.known[number]))
            self.look_at = 2 * (len(self.shared) - len(idle)) + FEW

    def let_go(self, number):
        container = self.shared.pop(number, None)
        if container is not None:
            self.numbers.pop(id(container), None)
        self.known.pop(number, None)

    def request(self, kind, values):
        """Sends a request and serves the other side's until the answer comes. That may be while a message is
        read: a proxy that becomes a key is asked for its hash."""
        reading = self.data, self.at, self.end, self.depth, self.subclass, self.is_constructed
        try:
            self.send(kind, self.message(values))
            return self.await_answer()
        finally:
            self.data, self.at, self.end, self.depth, self.subclass, self.is_constructed = reading

    def await_answer(self):
        label, constructing = self.label, self.constructing
        while True:
            kind = self.receive()
            if kind in b"vex":
                self.label = label
                values = self.all_values(constructing)
                if len(values) == 0:
                    raise Garbage("an answer without a value")
                if kind == V:
                    return values[0]
                if kind == X:
                    raise Unfit(str(values[0])[:200])
                if not isinstance(values[0], BaseException):
                    raise Garbage("an exception that is none")
                if isinstance(values[0], SystemExit):
                    self.exits.append(values[0])
                raise values[0]
            self.serve(kind)

    def all_values(self, constructed=False):
        """The values of the message at hand."""
        try:
            return self.rest(constructed)
        except RecursionError:
            sys.setrecursionlimit(20000)
            self.at = 5
            return self.rest(constructed)

    def rest(self, constructed=False):
        values, self.depth, self.subclass = [], 0, None
        self.is_constructed = False
        if self.data.startswith(NOTHING_NEW, self.at):
            self.at += len(NOTHING_NEW)
        else:
            self.read_news()
        while self.at < self.end:
            self.is_constructed = constructed
            values.append(self.value())
        return values

    def read_news(self):
        for _ in range(self.length()):
            self.value()
        # What the other side has let go it will not bring up to date: here it is like any other.
        for number in self.values():
            if type(number) is not int:
                raise Garbage("a container without a number")
            self.let_go(number)

    def serve(self, kind):
        """Answers one request of the other side."""
        touched, self.touched = self.touched, []
        values = self.all_values()
        try:
            result, answer = self.perform(kind, values), b"v"
        except (Gone, Garbage):
            raise
        except Unfit as error:
            result, answer = str(error), b"x"
        except BaseException as error:
            result, answer = error, b"e"
        try:
            parts = self.message((result,), self.touched)
        except Unfit as error:
            parts, answer = self.message((str(error),)), b"x"
        except MemoryError as error:
            parts, answer = self.message((MemoryError(),)), b"e"
        self.touched = touched
        self.send(answer, parts)
