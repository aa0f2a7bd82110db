//! `learned.json`: whose parts these are, and what made them.

use crate::Error;
use generator::Generator;
use selection::is_model;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use transformer::Config;

/// The version that is read.
const VERSION: u32 = 1;

/// What `learned.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format's version: 1.
    pub version: u32,
    /// Names of the base model. Owner, case and the form of the weights do not matter.
    pub models: Vec<String>,
    /// The base model's shape.
    pub shape: Shape,
    /// The base model's [fingerprint](transformer::Checkpoint::fingerprint); parts of an earlier version have
    /// none, and are checked by the shape alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// How the policy is used.
    #[serde(default)]
    pub policy: PolicySettings,
    /// How the critic is used.
    #[serde(default)]
    pub critic: CriticSettings,
    /// Recipe, commands, card and date that made the parts.
    #[serde(default)]
    pub made_by: Value,
    /// The table on validation problems that chose them.
    #[serde(default)]
    pub validation: Value,
}

/// How the policy is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySettings {
    /// How many candidates of a question without tests it writes, the first ones; the base model writes the
    /// others.
    pub candidates: usize,
    /// How many of a question with tests: these find the right one among many, and the base model's many
    /// are more different.
    pub candidates_with_tests: usize,
}

impl Default for PolicySettings {
    fn default() -> Self {
        PolicySettings { candidates: 16, candidates_with_tests: 4 }
    }
}

/// How the critic is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CriticSettings {
    /// Longest text that it learned from, in tokens.
    pub max_tokens: usize,
}

impl Default for CriticSettings {
    fn default() -> Self {
        CriticSettings { max_tokens: 512 }
    }
}

/// The numbers that adapters depend on, as `config.json` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
}

impl Manifest {
    /// Whether the parts are for the model of this name.
    pub fn is_for(&self, name: &str) -> bool {
        self.models.iter().any(|known| is_model(known, name))
    }

    /// Refuses a model of another shape, or of other weights.
    pub(crate) fn check(&self, path: &Path, base: &Generator) -> Result<(), Error> {
        self.shape.check(path, &base.name, base.config())?;
        match (&self.weights, &base.fingerprint) {
            (Some(expected), Some(found)) if expected != found => Err(Error::Weights {
                path: path.to_owned(),
                model: base.name.clone(),
                expected: expected.clone(),
                found: found.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let invalid = |message: String| Error::Invalid { path: path.to_owned(), message };
        let manifest: Manifest = serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        match &manifest {
            Manifest { version, .. } if *version != VERSION => {
                Err(invalid(format!("version: expected {VERSION}, found {version}; update this program")))
            }
            Manifest { models, .. } if models.is_empty() => {
                Err(invalid("models: expected the base model's names, found none".to_owned()))
            }
            Manifest { critic, .. } if critic.max_tokens == 0 => {
                Err(invalid("critic.max_tokens: expected at least 1, found 0".to_owned()))
            }
            _ => Ok(manifest),
        }
    }
}

impl Shape {
    /// That of a model.
    pub fn of(config: &Config) -> Self {
        Shape {
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_hidden_layers: config.num_hidden_layers,
            num_attention_heads: config.num_attention_heads,
            num_key_value_heads: config.num_key_value_heads,
        }
    }

    fn fields(&self) -> [(&'static str, usize); 5] {
        [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
        ]
    }

    /// Refuses a model of another shape.
    fn check(&self, path: &Path, model: &str, config: &Config) -> Result<(), Error> {
        let theirs = Shape::of(config).fields();
        let differs = self.fields().into_iter().zip(theirs).find(|(ours, theirs)| ours != theirs);
        let Some(((field, expected), (_, found))) = differs else { return Ok(()) };
        Err(Error::Shape { path: path.to_owned(), model: model.to_owned(), field, expected, found })
    }
}
