//! PPO's clipped surrogate for one token (Schulman et al., 2017, section 3), with the KL term of GRPO
//! (Schulman's estimator k3).

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

/// The gradient of a token whose log-probability was `old` when it was sampled.
pub(crate) fn token_gradient(
    log_probability: f32,
    old: f32,
    advantage: f32,
    clip: Clip,
    reference: Option<f32>,
    kl_coefficient: f32,
) -> TokenGradient {
    let ratio = (log_probability - old).exp();
    let clipped = if advantage > 0.0 { ratio > 1.0 + clip.high } else { ratio < 1.0 - clip.low };
    let surrogate = if clipped { 0.0 } else { -ratio * advantage };
    let (kl, pull) = reference.map_or((0.0, 0.0), |reference| {
        let difference = reference - log_probability;
        (difference.exp() - difference - 1.0, 1.0 - difference.exp())
    });
    TokenGradient { gradient: surrogate + kl_coefficient * pull, clipped, kl }
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
                log_probability as f32,
                old as f32,
                advantage as f32,
                Clip { low: 0.2, high: 0.28 },
                Some(reference as f32),
                0.05,
            );
            assert!((slope - f64::from(ours.gradient)).abs() < 1e-3, "{slope} {}", ours.gradient);
        }
    }
}
