//! `range` objects.

use crate::{Budget, TooMuchWork};
use num_bigint::BigInt;
use num_traits::{One, Signed};

/// `range(start, stop, step)`; [`Value::range`](crate::Value::range) makes one.
#[derive(Clone, Debug)]
pub struct Range {
    /// The first number, if there is one.
    pub start: BigInt,
    /// Where it ends; not part of it.
    pub stop: BigInt,
    /// The difference of two that follow each other; not 0.
    pub step: BigInt,
}

impl Range {
    /// What Python compares of a range: how many numbers it holds, the first where there is one,
    /// and the step where there are two.
    pub(crate) fn contents(
        &self,
        budget: &mut Budget,
    ) -> Result<(BigInt, Option<&BigInt>, Option<&BigInt>), TooMuchWork> {
        let distance = match self.step.is_negative() {
            true => &self.start - &self.stop,
            false => &self.stop - &self.start,
        };
        let limbs = |value: &BigInt| 1 + value.bits() / 64;
        budget.spend(10 + limbs(&distance) * limbs(&self.step))?;
        if !distance.is_positive() || self.step == BigInt::ZERO {
            return Ok((BigInt::ZERO, None, None));
        }
        let length: BigInt = (distance - 1) / self.step.abs() + 1;
        let step = (!length.is_one()).then_some(&self.step);
        Ok((length, Some(&self.start), step))
    }
}

#[cfg(test)]
mod tests {
    use crate::{BigInt, Value};

    #[test]
    fn a_step_of_0_is_refused() {
        let zero = || BigInt::from(0);
        assert!(Value::range(zero(), BigInt::from(3), zero()).is_none());
        assert!(Value::range(zero(), BigInt::from(3), BigInt::from(-1)).is_some());
    }
}
