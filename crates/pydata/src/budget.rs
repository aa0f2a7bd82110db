//! A bound on the work that one value may cost.
//!
//! The values come from untrusted programs: a value of a few hundred kilobytes can be built so that
//! comparing it takes minutes. Every operation here that does not take linear time counts its steps.

/// An operation would take more work than its budget allows, or the value is nested deeper than
/// [`MAX_DEPTH`](crate::MAX_DEPTH).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value takes more work than the budget allows; return a smaller or simpler value")]
pub struct TooMuchWork;

/// Steps left for comparing, hashing and classifying values. A step is an element, a few bytes or
/// a 64-bit limb: about a nanosecond in a release build. The count is the same on every machine.
#[derive(Clone, Debug)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// Steps of the default budget: well under a second of work.
    pub const DEFAULT_STEPS: u64 = 200_000_000;

    /// A budget of this many steps.
    pub const fn new(steps: u64) -> Self {
        Budget { left: steps }
    }

    /// Steps that are left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Takes steps from the budget.
    ///
    /// # Errors
    /// Where fewer are left; then none are.
    #[inline]
    pub fn spend(&mut self, steps: u64) -> Result<(), TooMuchWork> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(TooMuchWork)
            }
        }
    }

    /// Takes the steps to enter a value at this depth.
    #[inline]
    pub(crate) fn enter(&mut self, depth: usize) -> Result<(), TooMuchWork> {
        if depth > crate::MAX_DEPTH {
            return Err(TooMuchWork);
        }
        self.spend(5)
    }

    /// Takes the steps of copying, comparing or mixing this many bytes.
    #[inline]
    pub(crate) fn spend_bytes(&mut self, count: usize) -> Result<(), TooMuchWork> {
        self.spend(1 + count as u64 / 8)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Budget::new(Budget::DEFAULT_STEPS)
    }
}
