//! Which statements of a program to keep.
//!
//! What a test needs is found by the flow of data: the entry point, what it reaches, what binds or
//! changes that. Everything else is kept as well unless it is an example's: prints, asserts, calls
//! of the program's own functions for nothing, and what only those use.

use super::items::{Item, Role};
use super::vocabulary::is_builtin;
use std::collections::{HashMap, HashSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Kept,
    Dropped,
}

/// Which items to keep, in order; `entry_point` is what tests call.
pub(super) fn select(items: &[Item<'_>], entry_point: &str) -> Vec<bool> {
    let mut selection = Selection::new(items, entry_point);
    selection.find_demonstrating();
    selection.keep_needed();
    selection.keep_for_unreached_functions();
    selection.drop_examples();
    selection.drop_imports_of_examples();
    selection.drop_a_useless_end();
    selection.fates.iter().map(|fate| *fate == Fate::Kept).collect()
}

type Index<'t> = HashMap<&'t str, Vec<usize>>;

struct Selection<'i, 't> {
    items: &'i [Item<'t>],
    entry_point: &'i str,
    fates: Vec<Fate>,
    /// Whether tests reach an item.
    reached: Vec<bool>,
    /// Names that what is kept needs.
    live: HashSet<&'t str>,
    queue: Vec<&'t str>,
    /// Items that bind or change a name.
    touching: Index<'t>,
    binding: Index<'t>,
    called_later: Index<'t>,
    using: Index<'t>,
    /// Functions that change a name when called.
    affecting: Index<'t>,
    effectful: HashSet<&'t str>,
    /// The program's own functions and classes.
    own: HashSet<&'t str>,
    /// Names that imports bind.
    imported: HashSet<&'t str>,
    /// Names that are bound otherwise.
    variables: HashSet<&'t str>,
    /// Functions that only a demonstration calls at the top level.
    demonstrating: HashSet<&'i str>,
    /// Functions that change something outside of themselves.
    impure: HashSet<&'i str>,
    last_definition: usize,
    star: bool,
}

fn index<'i, 't, I>(items: &'i [Item<'t>], of: impl Fn(&'i Item<'t>) -> I) -> Index<'t>
where
    I: Iterator<Item = &'t str>,
{
    let mut index: Index<'t> = HashMap::new();
    for (at, item) in items.iter().enumerate() {
        for name in of(item) {
            index.entry(name).or_default().push(at);
        }
    }
    index
}

impl<'i, 't> Selection<'i, 't> {
    fn new(items: &'i [Item<'t>], entry_point: &'i str) -> Self {
        let of_role = |role: Role| items.iter().filter(move |item| item.role == role);
        let own = of_role(Role::Definition).flat_map(|item| item.names.binds.iter());
        let defines = |item: &Item<'_>| item.names.defines || item.names.binds.contains(entry_point);
        let others = items.iter().filter(|item| !matches!(item.role, Role::Definition | Role::Import));
        Selection {
            items,
            entry_point,
            fates: vec![Fate::Open; items.len()],
            reached: vec![false; items.len()],
            live: HashSet::new(),
            queue: Vec::new(),
            touching: index(items, |item| item.touched()),
            binding: index(items, |item| item.names.binds.iter()),
            called_later: index(items, |item| item.names.later_calls.iter()),
            using: index(items, |item| item.names.uses.iter()),
            affecting: index(items, |item| item.names.effects.iter()),
            effectful: HashSet::new(),
            own: own.collect(),
            imported: of_role(Role::Import).flat_map(|item| item.names.binds.iter()).collect(),
            variables: others.flat_map(|item| item.names.binds.iter()).collect(),
            demonstrating: HashSet::new(),
            impure: HashSet::new(),
            last_definition: items.iter().rposition(defines).unwrap_or(items.len()),
            star: items.iter().any(|item| item.names.star),
        }
    }

    fn need(&mut self, names: impl IntoIterator<Item = &'t str>) {
        for name in names {
            if self.live.insert(name) {
                self.queue.push(name);
            }
        }
    }

    /// Keeps an item; `reached` says that its functions are called.
    fn keep(&mut self, at: usize, reached: bool) {
        let item = &self.items[at];
        if self.fates[at] != Fate::Kept {
            self.fates[at] = Fate::Kept;
            self.need(item.names.uses.iter());
            self.need(item.names.changes.iter());
        }
        if reached && !self.reached[at] {
            self.reached[at] = true;
            self.need(item.names.later_uses.iter());
        }
    }

    /// Follows what the entry point needs; without one, what all functions need.
    fn keep_needed(&mut self) {
        let entry = self.binding.get_key_value(self.entry_point).map(|(name, _)| *name);
        self.need(entry);
        for (at, item) in self.items.iter().enumerate() {
            if item.role == Role::Idle || self.is_test(item) {
                self.fates[at] = Fate::Dropped;
            } else if item.role == Role::Definition && !item.optional {
                self.keep(at, entry.is_none());
            }
        }
        self.follow();
    }

    /// A test case for a framework that may be missing.
    fn is_test(&self, item: &Item<'_>) -> bool {
        let named = |name: &&str| name.starts_with("test") || name.starts_with("Test");
        item.role == Role::Definition
            && item.names.binds.iter().any(|name| named(&name) && name != self.entry_point)
            && ["unittest", "pytest"].into_iter().any(|framework| item.names.uses.contains(framework))
    }

    fn follow(&mut self) {
        while let Some(name) = self.queue.pop() {
            let settled = self.settled(name);
            for at in self.touching.get(name).cloned().unwrap_or_default() {
                if self.may_touch(at, name, settled) {
                    self.keep(at, true);
                }
            }
            // A function that changes what is needed: those who call it at the top level count.
            if !self.imported.contains(name) {
                for at in self.affecting.get(name).cloned().unwrap_or_default() {
                    self.mark_effectful(at);
                }
            }
            if self.variables.contains(name) {
                for at in self.using.get(name).cloned().unwrap_or_default() {
                    if self.may_change_by_call(at) {
                        self.keep(at, true);
                    }
                }
            }
        }
    }

    /// Whether the program itself, or what stands before it, gives a name its value.
    fn settled(&self, name: &str) -> (bool, bool) {
        let bindings = self.binding.get(name).into_iter().flatten().map(|at| &self.items[*at]);
        let program = bindings.clone().any(|item| !item.optional && !item.rebinds(name));
        (program, bindings.into_iter().any(|item| item.optional && !item.after))
    }

    /// Whether an item may give a needed name its value.
    fn may_touch(&self, at: usize, name: &str, (program, before): (bool, bool)) -> bool {
        let item = &self.items[at];
        if self.fates[at] == Fate::Dropped || item.reads_input() {
            return false;
        }
        if item.optional {
            let own = item.names.binds.contains(name);
            let wraps = item.after && item.rebinds(name) && item.head != name;
            let example = item.names.asserts || self.prints(item) || self.calls_entry_point(item);
            return !example && (!own || wraps || !(program || (item.after && before)));
        }
        // `random.seed(1)` and `asyncio.run(main())` change no name, whatever uses the module.
        let module = !item.names.binds.contains(name) && self.imported.contains(name);
        !(self.shadows(at, name) || module && self.is_example(item))
    }

    /// `list = [1, 2]` below the functions sets an example up; they mean the builtin.
    fn shadows(&self, at: usize, name: &str) -> bool {
        let item = &self.items[at];
        let below = at > self.last_definition && name != self.entry_point;
        below && item.literal && item.role == Role::Assignment && is_builtin(name)
    }

    fn prints(&self, item: &Item<'_>) -> bool {
        item.names.calls.contains("print") || item.names.calls.contains("pprint")
    }

    fn calls_entry_point(&self, item: &Item<'_>) -> bool {
        item.names.calls.contains(self.entry_point)
    }

    /// `heapify(HEAP)`, `fill(TABLE)`: a call that is given an object which is needed.
    fn may_change_by_call(&self, at: usize) -> bool {
        let item = &self.items[at];
        self.fates[at] == Fate::Open
            && item.role == Role::Call
            && !item.reads_input()
            && !self.calls_entry_point(item)
            && !is_builtin(item.head)
    }

    fn mark_effectful(&mut self, function: usize) {
        let mut functions = vec![function];
        while let Some(function) = functions.pop() {
            let names: Vec<_> = self.items[function].names.binds.iter().collect();
            for name in names {
                // Calls of the entry point are examples.
                let own = self.own.contains(name) && name != self.entry_point;
                if !own || !self.effectful.insert(name) || self.asks(name) {
                    continue;
                }
                for at in self.using.get(name).cloned().unwrap_or_default() {
                    let item = &self.items[at];
                    let open = self.fates[at] == Fate::Open && item.role != Role::Definition;
                    if open && !item.reads_input() && !self.calls_entry_point(item) {
                        self.keep(at, true);
                    }
                }
                functions.extend(self.called_later.get(name).into_iter().flatten());
            }
        }
    }

    /// Whether a function of the program reads from the keyboard.
    fn asks(&self, function: &str) -> bool {
        let definitions = self.binding.get(function).into_iter().flatten();
        definitions.into_iter().any(|at| self.items[*at].names.later_calls.contains("input"))
    }

    fn is_example(&self, item: &Item<'_>) -> bool {
        let calls = item.names.calls.iter().any(|name| self.demonstrating.contains(name));
        let call = item.role == Role::Call;
        let uses = call && item.names.uses.contains(self.entry_point);
        let mut own = item.names.calls.iter().filter(|name| self.own.contains(*name)).peekable();
        let idle = call && own.peek().is_some() && own.all(|name| !self.impure.contains(name));
        let example = calls || uses || idle || self.calls_entry_point(item);
        (example && !item.names.defines) || item.names.asserts || self.prints(item) || item.reads_input()
    }

    /// Functions that call the entry point, print, ask or assert, or call one that does: `main`.
    fn find_demonstrating(&mut self) {
        let mut names = vec![self.entry_point, "print", "pprint", "input"];
        let asserting = self.items.iter().filter(|item| item.names.later_asserts);
        names.extend(asserting.flat_map(|item| item.names.binds.iter()));
        self.demonstrating = self.callers(names);
        let changing =
            self.items.iter().filter(|item| !item.names.effects.is_empty() || item.names.changes_arguments);
        self.impure = self.callers(changing.flat_map(|item| item.names.binds.iter()).collect());
    }

    /// The program's functions among these names and all that call them.
    fn callers(&self, mut queue: Vec<&'i str>) -> HashSet<&'i str> {
        let mut callers = HashSet::new();
        let mut seen = HashSet::new();
        while let Some(name) = queue.pop() {
            if !seen.insert(name) {
                continue;
            }
            if self.own.contains(name) {
                callers.insert(name);
            }
            let calling = self.called_later.get(name).into_iter().flatten();
            let names = calling.flat_map(|at| self.items[*at].names.binds.iter());
            queue.extend(names.filter(|name| self.own.contains(name)));
        }
        callers
    }

    /// Functions that the entry point does not reach may still be called by a test.
    fn keep_for_unreached_functions(&mut self) {
        let items = self.items;
        let unreached = items.iter().zip(&self.fates).zip(&self.reached);
        let unreached = unreached.filter(|((_, fate), reached)| **fate == Fate::Kept && !**reached);
        let names: HashSet<&'t str> =
            unreached.flat_map(|((item, _), _)| item.names.later_uses.iter()).collect();
        for name in names {
            let settled = self.settled(name);
            for at in self.touching.get(name).cloned().unwrap_or_default() {
                let open = self.fates[at] == Fate::Open && !self.items[at].optional;
                if open && !self.is_example(&self.items[at]) && self.may_touch(at, name, settled) {
                    self.keep(at, true);
                }
            }
        }
        self.follow();
    }

    /// Drops examples, what needs what they bound, and what only they use; keeps the rest.
    fn drop_examples(&mut self) {
        let items = self.items;
        let count = |index: &Index<'t>, name: &str| index.get(name).map_or(0, Vec::len);
        let mut binders: HashMap<&str, usize> = HashMap::new();
        let mut users: HashMap<&str, usize> = HashMap::new();
        let mut queue: Vec<usize> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let missing = |name: &str| count(&self.binding, name) == 0 && !is_builtin(name);
            let lost = || !self.star && item.role != Role::Import && item.names.uses.iter().any(missing);
            let shadows = || item.names.binds.iter().any(|name| self.shadows(at, name));
            let drop = || item.optional || self.is_example(item) || shadows() || lost();
            if self.fates[at] == Fate::Open && drop() {
                self.fates[at] = Fate::Dropped;
            }
            if self.fates[at] == Fate::Dropped {
                queue.push(at);
            }
        }
        while let Some(at) = queue.pop() {
            for name in items[at].names.binds.iter() {
                let left = binders.entry(name).or_insert_with(|| count(&self.binding, name));
                *left = left.saturating_sub(1);
                if *left == 0 && !is_builtin(name) {
                    let needy = self.using.get(name).cloned().unwrap_or_default();
                    self.drop_open(&needy, &mut queue);
                }
            }
            for name in items[at].names.uses.iter() {
                if self.sets_up(at, name) {
                    continue;
                }
                let count = || {
                    let using = self.using.get(name).into_iter().flatten();
                    using.filter(|at| !self.sets_up(**at, name)).count()
                };
                let left = users.entry(name).or_insert_with(count);
                *left = left.saturating_sub(1);
                if *left == 0 && !self.live.contains(name) {
                    let mut setters = self.touching.get(name).cloned().unwrap_or_default();
                    setters.retain(|at| self.sets_up(*at, name));
                    self.drop_open(&setters, &mut queue);
                }
            }
        }
        for fate in self.fates.iter_mut().filter(|fate| **fate == Fate::Open) {
            *fate = Fate::Kept;
        }
    }

    /// Whether a statement below the functions only gives a name its value.
    fn sets_up(&self, at: usize, name: &str) -> bool {
        let item = &self.items[at];
        let role = matches!(item.role, Role::Assignment | Role::Call | Role::Other);
        let touches = item.names.binds.contains(name) || item.names.changes.contains(name);
        role && touches && at > self.last_definition && !self.imported.contains(name)
    }

    fn drop_open(&mut self, of: &[usize], queue: &mut Vec<usize>) {
        for at in of.iter().copied() {
            if self.fates[at] == Fate::Open && self.items[at].role != Role::Import {
                self.fates[at] = Fate::Dropped;
                queue.push(at);
            }
        }
    }

    fn drop_imports_of_examples(&mut self) {
        let (mut kept, mut dropped) = (HashSet::new(), HashSet::new());
        for (item, fate) in self.items.iter().zip(&self.fates) {
            let names = if *fate == Fate::Kept { &mut kept } else { &mut dropped };
            names.extend(item.names.uses.iter().chain(item.names.later_uses.iter()));
        }
        for (item, fate) in self.items.iter().zip(&mut self.fates) {
            let mut binds = item.names.binds.iter();
            if item.role == Role::Import
                && !item.names.star
                && !item.names.binds.is_empty()
                && !item.names.binds.contains(self.entry_point)
                && binds.all(|name| dropped.contains(name) && !kept.contains(name))
            {
                *fate = Fate::Dropped;
            }
        }
    }

    /// A last statement that was cut off spoils everything; it goes if nothing needs it. So do
    /// strings at the end.
    fn drop_a_useless_end(&mut self) {
        let kept = (0..self.items.len()).filter(|at| self.fates[*at] == Fate::Kept);
        let mut kept: Vec<usize> = kept.collect();
        while let [_, .., last] = kept.as_slice() {
            let item = &self.items[*last];
            let needed = item.names.binds.iter().any(|name| self.live.contains(name));
            let broken = item.broken && !needed && self.live.contains(self.entry_point);
            if broken || item.role == Role::Text {
                self.fates[*last] = Fate::Dropped;
            }
            if item.role != Role::Text {
                return;
            }
            kept.pop();
        }
    }
}
