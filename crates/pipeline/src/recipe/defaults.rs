//! What a recipe says that does not say it.

use super::{
    CriticRecipe, ExecutorRecipe, GreedyRecipe, ModelRecipe, PoolRecipe, PretrainRecipe, ProblemsRecipe,
    Recipe, SelectionRecipe,
};
use learning::critic_training::CriticSettings;
use learning::grpo::GrpoSettings;
use learning::supervised::SupervisedSettings;
use problems::prompt::{PromptFormat, PromptTests};
use python::Tier;
use records::Split;
use transformer::checkpoint::Precision;

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            name: "run".into(),
            seed: 0,
            model: ModelRecipe::default(),
            problems: ProblemsRecipe::default(),
            greedy: GreedyRecipe::default(),
            pool: PoolRecipe::default(),
            executor: ExecutorRecipe::default(),
            grpo: GrpoSettings::default(),
            critic: CriticRecipe::default(),
            selection: SelectionRecipe::default(),
            pretrain: None,
        }
    }
}

impl Default for ModelRecipe {
    fn default() -> Self {
        ModelRecipe { path: "models/basics".into(), prompt: PromptFormat::Comment }
    }
}

impl Default for ProblemsRecipe {
    fn default() -> Self {
        ProblemsRecipe {
            source: "basics".into(),
            also_train: Vec::new(),
            also_report: Vec::new(),
            train: 0,
            test: 0,
            report_on: Split::Test,
            seed: 1,
        }
    }
}

impl Default for GreedyRecipe {
    fn default() -> Self {
        GreedyRecipe { max_new_tokens: 512, tests: PromptTests::Visible }
    }
}

impl Default for PoolRecipe {
    fn default() -> Self {
        PoolRecipe {
            samples: 50,
            temperature: 0.8,
            top_p: 0.95,
            top_k: 0,
            max_new_tokens: 512,
            max_sequences: 0,
            tests: PromptTests::Visible,
        }
    }
}

impl Default for ExecutorRecipe {
    fn default() -> Self {
        ExecutorRecipe {
            python: "python3".into(),
            workers: 0,
            timeout: 2.0,
            memory: 1024,
            require_tier: Tier::C,
            packages: Vec::new(),
            protocol_imports: true,
        }
    }
}

impl Default for CriticRecipe {
    fn default() -> Self {
        CriticRecipe {
            start: String::new(),
            problems: 0,
            samples: 8,
            base_samples: 0,
            rollouts: true,
            validation: 0.1,
            seeds: 1,
            precision: Precision::F32,
            training: CriticSettings::default(),
        }
    }
}

impl Default for SelectionRecipe {
    fn default() -> Self {
        SelectionRecipe { levels: vec![1], own_inputs: 10, validation_samples: 0, kept_from_grpo: true }
    }
}

impl Default for PretrainRecipe {
    fn default() -> Self {
        PretrainRecipe {
            samples: String::new(),
            programs: 60_000,
            vocab_size: 1024,
            hidden_size: 192,
            intermediate_size: 576,
            layers: 4,
            heads: 6,
            key_value_heads: 3,
            training: SupervisedSettings::default(),
        }
    }
}
