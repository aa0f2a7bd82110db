//! What no shape may be, whatever file it comes from.

use super::Config;
use crate::architecture::RopeScaling;
use std::fmt::Display;

/// More than any model's width, vocabulary or context.
pub(crate) const LARGEST_SIZE: usize = 1 << 24;
/// Beyond these no model's rotary base is. Below 1 frequencies grow, which are meant to fall.
const ROPE_BASES: std::ops::RangeInclusive<f64> = 1.0..=1e15;
/// Larger ones would drown what they are added to.
const LARGEST_EPSILON: f32 = 1.0;
/// A longer context than any model is stretched to.
const LARGEST_FACTOR: f64 = 1e6;

/// A field that is not as it must be; its name is that of `config.json`.
pub(crate) struct Wrong {
    pub(crate) field: &'static str,
    expected: String,
    found: String,
}

impl Wrong {
    fn new(field: &'static str, expected: impl Display, found: impl Display) -> Self {
        Wrong { field, expected: expected.to_string(), found: found.to_string() }
    }

    /// In words, the field called as its file calls it.
    pub(crate) fn message(&self, name: &str) -> String {
        format!("{name}: expected {}, found {}", self.expected, self.found)
    }
}

impl Config {
    /// The first field that is not as it must be: what is computed with these must neither overflow nor be
    /// taken for memory, and must be numbers.
    pub(crate) fn check(&self) -> Result<(), Wrong> {
        self.check_sizes()?;
        self.check_numbers()?;
        self.check_rope_scaling()?;
        let beyond = self.eos_token_ids.iter().find(|&&token| token as usize >= self.vocab_size);
        match beyond {
            None => Ok(()),
            Some(token) => {
                let expected = format!("tokens below {}, the number of embeddings", self.vocab_size);
                Err(Wrong::new("eos_token_id", expected, token))
            }
        }
    }

    fn check_sizes(&self) -> Result<(), Wrong> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        let is_wrong = |&(_, size): &(&str, usize)| size == 0 || size > LARGEST_SIZE;
        if let Some((field, size)) = sizes.into_iter().find(is_wrong) {
            return Err(Wrong::new(field, format!("1 to {LARGEST_SIZE}"), size));
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let expected = format!("a divisor of {}, the number of query heads", self.num_attention_heads);
            return Err(Wrong::new("num_key_value_heads", expected, self.num_key_value_heads));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(Wrong::new("head_dim", "an even number", self.head_dim));
        }
        let width = self.num_attention_heads.saturating_mul(self.head_dim);
        match width > LARGEST_SIZE {
            true => Err(Wrong::new("head_dim", format!("at most {LARGEST_SIZE} for all heads"), width)),
            false => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<(), Wrong> {
        let epsilon = self.rms_norm_eps;
        if !(epsilon > 0.0 && epsilon <= LARGEST_EPSILON) {
            return Err(Wrong::new("rms_norm_eps", "a number above 0, such as 1e-6", epsilon));
        }
        if !ROPE_BASES.contains(&self.rope_theta) {
            return Err(Wrong::new("rope_theta", "a number from 1 to 1e15, such as 10000", self.rope_theta));
        }
        Ok(())
    }

    fn check_rope_scaling(&self) -> Result<(), Wrong> {
        let factor_of = |factor: f64| match factor > 0.0 && factor <= LARGEST_FACTOR {
            true => Ok(()),
            false => Err(Wrong::new("rope_scaling.factor", "a number above 0, such as 4", factor)),
        };
        match self.rope_scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => factor_of(factor),
            RopeScaling::Llama3 {
                factor,
                low_frequency_factor: low,
                high_frequency_factor: high,
                original_positions: positions,
            } => {
                factor_of(factor)?;
                if !(low > 0.0 && low.is_finite()) {
                    return Err(Wrong::new("rope_scaling.low_freq_factor", "a number above 0", low));
                }
                if !(high > low && high.is_finite()) {
                    let expected = format!("a number above low_freq_factor, {low}");
                    return Err(Wrong::new("rope_scaling.high_freq_factor", expected, high));
                }
                if positions == 0 || positions > LARGEST_SIZE {
                    let field = "rope_scaling.original_max_position_embeddings";
                    return Err(Wrong::new(field, format!("1 to {LARGEST_SIZE}"), positions));
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(change: impl Fn(&mut Config)) -> Option<(&'static str, String)> {
        let mut config = Config::tiny();
        change(&mut config);
        config.check().err().map(|wrong| (wrong.field, wrong.message(wrong.field)))
    }

    #[test]
    fn what_is_no_number_of_its_kind_is_refused_by_name() {
        assert_eq!(wrong(|_| {}), None);
        for value in [f64::NAN, -1.0, 0.0, f64::INFINITY, 1e300, 1e-300] {
            assert_eq!(wrong(|config| config.rope_theta = value).map(|wrong| wrong.0), Some("rope_theta"));
            let scaled = |config: &mut Config| config.rope_scaling = RopeScaling::Linear { factor: value };
            let found = wrong(scaled).map(|wrong| wrong.0);
            assert_eq!(found, (value != 1e-300).then_some("rope_scaling.factor"), "{value}");
        }
        for value in [f32::NAN, -1.0, 0.0, f32::INFINITY, 3e38] {
            let (field, message) = wrong(|config| config.rms_norm_eps = value).expect("refused");
            assert_eq!(field, "rms_norm_eps");
            assert!(message.contains(&format!("found {value}")), "{message}");
        }
    }

    #[test]
    fn llama3s_settings_must_differ() {
        let scaled = |low: f64, high: f64, positions: usize| {
            wrong(|config| {
                config.rope_scaling = RopeScaling::Llama3 {
                    factor: 8.0,
                    low_frequency_factor: low,
                    high_frequency_factor: high,
                    original_positions: positions,
                }
            })
            .map(|wrong| wrong.0)
        };
        assert_eq!(scaled(1.0, 4.0, 8192), None);
        assert_eq!(scaled(4.0, 4.0, 8192), Some("rope_scaling.high_freq_factor"));
        assert_eq!(scaled(f64::NAN, 4.0, 8192), Some("rope_scaling.low_freq_factor"));
        assert_eq!(scaled(1.0, 4.0, 0), Some("rope_scaling.original_max_position_embeddings"));
    }

    #[test]
    fn sizes_and_end_tokens_fit() {
        assert_eq!(
            wrong(|config| config.max_position_embeddings = 0).map(|wrong| wrong.0),
            Some("max_position_embeddings")
        );
        assert_eq!(wrong(|config| config.head_dim = 7).map(|wrong| wrong.0), Some("head_dim"));
        assert_eq!(
            wrong(|config| config.eos_token_ids = vec![64]).map(|wrong| wrong.0),
            Some("eos_token_id")
        );
    }
}
