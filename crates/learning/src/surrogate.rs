//! PPO's clipped surrogate for one token (Schulman et al., 2017, section 3), with the KL term of GRPO
//! (Schulman's estimator k3) and a bonus for entropy.

use transformer::head::Prediction;

/// What one token adds to the loss.
pub(crate) struct TokenGradient {
    /// Derivative of the loss by the token's log-probability.
    pub(crate) gradient: f32,
    /// Whether the ratio is outside the range, so that the surrogate gives no gradient.
    pub(crate) clipped: bool,
    /// The estimate of the KL divergence from the reference model.
    pub(crate) kl: f32,
}

/// How far a ratio may be from 1 to give a gradient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clip {
    /// Below 1.
    pub(crate) low: f32,
    /// Above 1.
    pub(crate) high: f32,
}

/// What a token is worth besides its advantage.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terms {
    /// Coefficient of the KL term.
    pub(crate) kl: f32,
    /// Coefficient of the entropy bonus.
    pub(crate) entropy: f32,
}

/// The gradient of a token whose log-probability was `old` when it was sampled.
///
/// The entropy's gradient is taken from the sampled token: dH is the mean over tokens of
/// `-(log p + H) d log p`, so that one that is less likely than tokens are on average here becomes likelier.
pub(crate) fn token_gradient(
    prediction: Prediction,
    old: f32,
    advantage: f32,
    clip: Clip,
    reference: Option<f32>,
    terms: Terms,
) -> TokenGradient {
    let Prediction { log_probability, entropy } = prediction;
    let ratio = (log_probability - old).exp();
    let clipped = if advantage > 0.0 { ratio > 1.0 + clip.high } else { ratio < 1.0 - clip.low };
    let surrogate = if clipped { 0.0 } else { -ratio * advantage };
    let (kl, pull) = reference.map_or((0.0, 0.0), |reference| {
        let difference = reference - log_probability;
        (difference.exp() - difference - 1.0, 1.0 - difference.exp())
    });
    let spread = ratio * (log_probability + entropy);
    TokenGradient { gradient: surrogate + terms.kl * pull + terms.entropy * spread, clipped, kl }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gradient of the clipped surrogate and the KL term, against finite differences.
    #[test]
    fn a_tokens_gradient_is_the_slope_of_its_loss() {
        let loss = |log_probability: f64, old: f64, advantage: f64, reference: f64| {
            let ratio = (log_probability - old).exp();
            let surrogate = (ratio * advantage).min(ratio.clamp(0.8, 1.28) * advantage);
            let difference = reference - log_probability;
            -surrogate + 0.05 * (difference.exp() - difference - 1.0)
        };
        for (log_probability, old, advantage, reference) in [
            (-1.0, -1.05, 0.7, -1.3),
            (-1.0, -1.22, 0.7, -1.3),
            (-1.0, -2.0, 0.7, -0.5),
            (-2.0, -1.0, -0.7, -2.2),
            (-1.0, -2.0, -1.5, -1.0),
        ] {
            let step = 1e-5;
            let slope = (loss(log_probability + step, old, advantage, reference)
                - loss(log_probability - step, old, advantage, reference))
                / (2.0 * step);
            let ours = token_gradient(
                Prediction { log_probability: log_probability as f32, entropy: 1.0 },
                old as f32,
                advantage as f32,
                Clip { low: 0.2, high: 0.28 },
                Some(reference as f32),
                Terms { kl: 0.05, entropy: 0.0 },
            );
            assert!((slope - f64::from(ours.gradient)).abs() < 1e-3, "{slope} {}", ours.gradient);
        }
    }

    /// In the mean over the tokens that a policy samples, the bonus is the slope of its entropy.
    #[test]
    fn the_bonus_raises_the_entropy() {
        let logits = [0.3f64, -1.0, 1.2, 0.0];
        let probabilities = |logits: &[f64]| {
            let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
            logits.iter().map(|logit| logit.exp() / sum).collect::<Vec<f64>>()
        };
        let entropy = |logits: &[f64]| -probabilities(logits).iter().map(|p| p * p.ln()).sum::<f64>();
        let (p, whole) = (probabilities(&logits), entropy(&logits));
        let terms = Terms { kl: 0.0, entropy: 1.0 };
        for at in 0..logits.len() {
            let mut moved = logits;
            moved[at] += 1e-6;
            let slope = (entropy(&moved) - whole) / 1e-6;
            let mean = (0..logits.len()).map(|token| {
                let log_probability = p[token].ln() as f32;
                let prediction = Prediction { log_probability, entropy: whole as f32 };
                let clip = Clip { low: 0.2, high: 0.2 };
                let ours = token_gradient(prediction, log_probability, 0.0, clip, None, terms);
                // d log p(token) / d logit(at)
                let of_logit = f64::from(u8::from(token == at)) - p[at];
                p[token] * f64::from(ours.gradient) * of_logit
            });
            let loss: f64 = mean.sum();
            assert!((loss + slope).abs() < 1e-4, "{loss} {slope}");
        }
    }
}
