//! Logistic regression with weighted examples and a ridge, by Newton's method.

/// What is learned from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Examples {
    rows: Vec<Vec<f64>>,
    labels: Vec<bool>,
    weights: Vec<f64>,
}

/// Where a coefficient is pulled, and how strongly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pull {
    pub towards: f64,
    pub strength: f64,
}

/// Steps after which it stops wherever it is.
const MOST_STEPS: usize = 60;
/// Change of a coefficient below which it has arrived.
const PRECISION: f64 = 1e-9;
/// Pull of the last coefficient, an intercept: enough for a solution, not for an influence.
pub(crate) const SLIGHT: f64 = 1e-6;

impl Examples {
    /// Adds one. The last number of a row is the intercept's: 1, or 0 where it has no part.
    pub(crate) fn add(&mut self, row: Vec<f64>, label: bool, weight: f64) {
        self.rows.push(row);
        self.labels.push(label);
        self.weights.push(weight);
    }

    /// The coefficients with the least weighted cross-entropy plus what it costs to be far from where each
    /// is pulled. None where it has no finite solution.
    ///
    /// # Panics
    /// If there are not as many pulls as numbers in a row.
    pub(crate) fn fit_near(&self, pull: &[Pull]) -> Option<Vec<f64>> {
        assert_eq!(self.rows.first()?.len(), pull.len(), "a pull for each coefficient");
        let mut coefficients: Vec<f64> = pull.iter().map(|pull| pull.towards).collect();
        let mut loss = self.loss(&coefficients, pull);
        for _ in 0..MOST_STEPS {
            let step = self.newton_step(&coefficients, pull)?;
            // A whole step can overshoot where the loss is far from a parabola.
            let mut share = 1.0;
            let (next, next_loss) = loop {
                let next: Vec<f64> = coefficients.iter().zip(&step).map(|(c, s)| c - share * s).collect();
                let next_loss = self.loss(&next, pull);
                if next_loss <= loss || share < 1e-6 {
                    break (next, next_loss);
                }
                share /= 2.0;
            };
            (coefficients, loss) = (next, next_loss);
            if step.iter().all(|step| (share * step).abs() < PRECISION) {
                break;
            }
        }
        coefficients.iter().all(|coefficient| coefficient.is_finite()).then_some(coefficients)
    }

    fn loss(&self, coefficients: &[f64], pull: &[Pull]) -> f64 {
        let entropy = self.rows.iter().zip(&self.labels).zip(&self.weights).map(|((row, &label), weight)| {
            let score = product(row, coefficients);
            let against = if label { -score } else { score };
            // ln(1 + e^x) without overflow.
            weight * (against.max(0.0) + (-against.abs()).exp().ln_1p())
        });
        let ridge =
            coefficients.iter().zip(pull).map(|(c, pull)| pull.strength * (c - pull.towards).powi(2) / 2.0);
        entropy.sum::<f64>() + ridge.sum::<f64>()
    }

    /// The inverse of the second derivatives times the first ones.
    fn newton_step(&self, coefficients: &[f64], pull: &[Pull]) -> Option<Vec<f64>> {
        let width = coefficients.len();
        let pulled = coefficients.iter().zip(pull).map(|(c, pull)| pull.strength * (c - pull.towards));
        let mut gradient: Vec<f64> = pulled.collect();
        let mut curvature = vec![vec![0.0; width]; width];
        for ((row, &label), weight) in self.rows.iter().zip(&self.labels).zip(&self.weights) {
            let p = 1.0 / (1.0 + (-product(row, coefficients)).exp());
            let error = weight * (p - f64::from(u8::from(label)));
            let bend = weight * p * (1.0 - p);
            for (at, &value) in row.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                gradient[at] += error * value;
                let line = &mut curvature[at][..=at];
                line.iter_mut().zip(row).for_each(|(sum, other)| *sum += bend * value * other);
            }
        }
        (0..width).for_each(|at| curvature[at][at] += pull[at].strength);
        solved(curvature, gradient)
    }
}

fn product(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

/// The solution of symmetric positive equations by Cholesky's method; the matrix's lower half is read.
fn solved(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let width = right.len();
    for row in 0..width {
        for column in 0..=row {
            let known = product(&matrix[row][..column], &matrix[column][..column]);
            let left = matrix[row][column] - known;
            if row == column {
                if left <= 0.0 || !left.is_finite() {
                    return None;
                }
                matrix[row][row] = left.sqrt();
            } else {
                matrix[row][column] = left / matrix[column][column];
            }
        }
    }
    for row in 0..width {
        right[row] = (right[row] - product(&matrix[row][..row], &right[..row])) / matrix[row][row];
    }
    for row in (0..width).rev() {
        let known: f64 = (row + 1..width).map(|below| matrix[below][row] * right[below]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All coefficients but the last are pulled towards 0.
    fn fit(examples: &Examples, ridge: f64) -> Option<Vec<f64>> {
        let width = examples.rows.first()?.len();
        let strength = |at: usize| if at + 1 < width { ridge } else { SLIGHT };
        let pull = (0..width).map(|at| Pull { towards: 0.0, strength: strength(at) });
        examples.fit_near(&pull.collect::<Vec<_>>())
    }

    #[test]
    fn a_share_becomes_its_log_odds() {
        let mut examples = Examples::default();
        // Of what has the sign 7 in 10 pass, of the others 2 in 10.
        for (sign, passing) in [(1.0, 7), (0.0, 2)] {
            (0..10).for_each(|at| examples.add(vec![sign, 1.0], at < passing, 1.0));
        }
        let found = fit(&examples, 1e-9).expect("coefficients");
        let odds = |share: f64| (share / (1.0 - share)).ln();
        assert!((found[1] - odds(0.2)).abs() < 1e-4 && (found[0] + found[1] - odds(0.7)).abs() < 1e-4);
        // The ridge pulls the sign's coefficient, and the intercept goes where it then must.
        let pulled = fit(&examples, 100.0).expect("coefficients");
        assert!(pulled[0] > 0.0 && pulled[0] < 0.2 && (pulled[1] - odds(0.45)).abs() < 0.1, "{pulled:?}");
    }

    #[test]
    fn few_examples_leave_a_coefficient_where_it_was_and_many_do_not() {
        let near = [Pull { towards: 2.0, strength: 10.0 }, Pull { towards: -1.0, strength: 10.0 }];
        let with = |times: f64| {
            let mut examples = Examples::default();
            examples.add(vec![1.0, 1.0], true, times);
            examples.add(vec![1.0, 1.0], false, times);
            examples.fit_near(&near).expect("coefficients")
        };
        let (few, many) = (with(0.01), with(1e6));
        assert!((few[0] - 2.0).abs() < 0.01 && (few[1] + 1.0).abs() < 0.01, "{few:?}");
        assert!((many[0] + many[1]).abs() < 0.01, "{many:?}");
    }

    #[test]
    fn weights_count_as_repetitions_and_what_separates_stays_finite() {
        let (mut weighted, mut repeated) = (Examples::default(), Examples::default());
        for (value, label, times) in [(0.5, true, 3), (-1.0, false, 2), (2.0, true, 1), (0.4, false, 1)] {
            weighted.add(vec![value, 1.0], label, f64::from(times));
            (0..times).for_each(|_| repeated.add(vec![value, 1.0], label, 1.0));
        }
        let (a, b) = (fit(&weighted, 1.0).expect("finite"), fit(&repeated, 1.0).expect("finite"));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-8), "{a:?} {b:?}");
        let mut separated = Examples::default();
        separated.add(vec![1.0, 1.0], true, 1000.0);
        separated.add(vec![-1.0, 1.0], false, 1000.0);
        assert!(fit(&separated, 1.0).expect("finite")[0] > 3.0);
        assert!(fit(&Examples::default(), 1.0).is_none());
    }
}
