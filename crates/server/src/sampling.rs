//! How a request's tokens are drawn.

use crate::ApiError;
use crate::api::Common;
use generator::{Adjustments, Sampling};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// OpenAI's limits of its penalties.
const PENALTY: RangeInclusive<f32> = -2.0..=2.0;
/// Beyond these a product of logits means nothing any more.
const REPETITION: RangeInclusive<f32> = 0.1..=10.0;
/// OpenAI's limits of a bias: at either end a token is forbidden or forced.
const BIAS: RangeInclusive<f32> = -100.0..=100.0;

impl Common {
    /// How tokens are drawn.
    ///
    /// # Errors
    /// Where a value is out of its range.
    pub fn sampling(&self) -> Result<Sampling, ApiError> {
        let top_p = self.top_p.unwrap_or(0.95);
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(ApiError::invalid("top_p", format!("expected more than 0, up to 1, found {top_p}")));
        }
        Ok(Sampling {
            temperature: within("temperature", self.temperature, 0.8, 0.0..=2.0)?,
            top_p,
            top_k: usize::try_from(self.top_k.unwrap_or(0).max(0)).unwrap_or(0),
            min_p: within("min_p", self.min_p, 0.0, 0.0..=1.0)?,
        })
    }

    /// What changes logits before tokens are drawn, of a vocabulary of so many tokens where that is known.
    ///
    /// # Errors
    /// Where a value is out of its range.
    pub fn adjustments(&self, vocabulary: Option<usize>) -> Result<Option<Arc<Adjustments>>, ApiError> {
        let adjustments = Adjustments {
            frequency: within("frequency_penalty", self.frequency_penalty, 0.0, PENALTY)?,
            presence: within("presence_penalty", self.presence_penalty, 0.0, PENALTY)?,
            repetition: within("repetition_penalty", self.repetition_penalty, 1.0, REPETITION)?,
            bias: self.bias(vocabulary)?,
        };
        Ok((!adjustments.is_neutral()).then(|| Arc::new(adjustments)))
    }

    fn bias(&self, vocabulary: Option<usize>) -> Result<Vec<(u32, f32)>, ApiError> {
        let asked = self.logit_bias.iter().flatten();
        let mut bias = Vec::new();
        for (token, &value) in asked {
            let field = format!("logit_bias.{token}");
            let number = token.parse().ok().filter(|&number: &u32| number.to_string() == *token);
            let known = number.filter(|&number| vocabulary.is_none_or(|count| (number as usize) < count));
            let Some(number) = known else {
                let below = vocabulary.map_or_else(String::new, |count| format!(" below {count}"));
                let message = format!("expected the number of a token{below}, found \"{token}\"");
                return Err(ApiError::invalid("logit_bias", message));
            };
            bias.push((number, within(&field, Some(value), 0.0, BIAS)?));
        }
        let most = Adjustments::MOST_BIASES;
        if bias.len() > most {
            let message = format!("expected at most {most} tokens, found {}", bias.len());
            return Err(ApiError::invalid("logit_bias", message));
        }
        bias.retain(|&(_, value)| value != 0.0);
        Ok(bias)
    }
}

fn within(
    field: &str,
    value: Option<f32>,
    default: f32,
    range: RangeInclusive<f32>,
) -> Result<f32, ApiError> {
    let value = value.unwrap_or(default);
    if range.contains(&value) {
        return Ok(value);
    }
    let message = format!("expected {} to {}, found {value}", range.start(), range.end());
    Err(ApiError::invalid(field, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(fields: Value) -> Result<Option<Arc<Adjustments>>, String> {
        let common: Common = serde_json::from_value(fields).expect("fields");
        common.sampling().and_then(|_| common.adjustments(Some(100))).map_err(|error| {
            let body = error.body();
            body["error"]["message"].as_str().expect("a message").to_owned()
        })
    }

    #[test]
    fn what_asks_for_nothing_adjusts_nothing() {
        let neutral = json!({"frequency_penalty": 0, "presence_penalty": 0.0, "repetition_penalty": 1,
            "logit_bias": {"7": 0}, "min_p": null});
        for fields in [json!({}), neutral] {
            assert_eq!(of(fields), Ok(None));
        }
        let asked =
            json!({"frequency_penalty": 0.5, "presence_penalty": -2, "logit_bias": {"99": -100, "3": 1.5}});
        let expected = Adjustments {
            frequency: 0.5,
            presence: -2.0,
            repetition: 1.0,
            bias: vec![(3, 1.5), (99, -100.0)],
        };
        assert_eq!(of(asked), Ok(Some(Arc::new(expected))));
    }

    #[test]
    fn values_out_of_range_are_named() {
        let many: Value = (0..2000).map(|token| (token.to_string(), json!(1))).collect();
        for (fields, message) in [
            (json!({"frequency_penalty": 2.5}), "frequency_penalty: expected -2 to 2, found 2.5"),
            (json!({"presence_penalty": -3}), "presence_penalty: expected -2 to 2, found -3"),
            (json!({"repetition_penalty": 0}), "repetition_penalty: expected 0.1 to 10, found 0"),
            (json!({"min_p": 1.5}), "min_p: expected 0 to 1, found 1.5"),
            (json!({"temperature": 3}), "temperature: expected 0 to 2, found 3"),
            (json!({"logit_bias": {"5": 101}}), "logit_bias.5: expected -100 to 100, found 101"),
            (
                json!({"logit_bias": {"100": 1}}),
                "logit_bias: expected the number of a token below 100, found \"100\"",
            ),
            (
                json!({"logit_bias": {"the": 1}}),
                "logit_bias: expected the number of a token below 100, found \"the\"",
            ),
            (
                json!({"logit_bias": {"05": 1}}),
                "logit_bias: expected the number of a token below 100, found \"05\"",
            ),
        ] {
            assert_eq!(of(fields), Err(message.to_owned()));
        }
        let common: Common = serde_json::from_value(json!({"logit_bias": many})).expect("fields");
        assert!(common.adjustments(None).is_err());
    }
}
