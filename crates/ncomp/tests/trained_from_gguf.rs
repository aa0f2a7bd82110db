//! A model that was trained from a GGUF file is asked as the file's is, and stops where it stops.

mod support;

use generator::Generator;
use problems::prompt::{Message, PromptFormat};
use std::path::Path;
use support::{ncomp, root, stderr};
use transformer::Cpu;

const TEMPLATE: &str =
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:";

fn succeeds(arguments: &[&str]) {
    let output = ncomp(arguments).output().expect("ncomp");
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
}

fn open(path: &str) -> Generator {
    Generator::load(Path::new(path), PromptFormat::Chat, &Cpu::default()).expect("a chat model")
}

#[test]
fn a_trained_model_is_asked_and_ends_as_its_base() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    // The built-in model with a chat template, in both forms. Where it ends is said beside the weights
    // too: of several end tokens config.json has the first.
    std::fs::create_dir(path("base")).expect("a directory");
    for entry in std::fs::read_dir(root().join("models/basics")).expect("the model").flatten() {
        std::fs::copy(entry.path(), directory.path().join("base").join(entry.file_name())).expect("copied");
    }
    std::fs::write(path("base/chat_template.jinja"), TEMPLATE).expect("written");
    std::fs::write(path("base/generation_config.json"), "{\"eos_token_id\": [0, 7]}").expect("written");
    succeeds(&["convert", &path("base"), &path("base.gguf")]);
    let pair = r#"{"prompt": "def f(a):\n", "completion": "    return a\n"}"#;
    std::fs::write(path("pairs.jsonl"), format!("{pair}\n")).expect("written");
    for base in [path("base.gguf"), path("base")] {
        let recipe = format!(
            "name = \"x\"\n[model]\npath = \"{base}\"\nprompt = \"chat\"\n[problems]\nsource = \"basics\"\n\
             train = 2\ntest = 2\n[grpo]\nsteps = 1\nprompts_per_step = 2\ngroup_size = 2\nmax_new_tokens = 8\n\
             [pretrain.training]\nbatch_size = 1\nepochs = 1\n"
        );
        std::fs::write(path("recipe.toml"), recipe).expect("written");
        let (data, recipe, sft, grpo) = (path("pairs.jsonl"), path("recipe.toml"), path("sft"), path("run"));
        succeeds(&["train", "sft", "--recipe", &recipe, "--data", &data, "--out", &sft]);
        succeeds(&["train", "grpo", "--recipe", &recipe, "--out", &grpo]);
        let expected = open(&base);
        for trained in [sft, path("run/grpo")] {
            let found = open(&trained);
            assert_eq!(found.config().eos_token_ids, expected.config().eos_token_ids, "{trained}");
            let asked = [Message { role: "user".to_owned(), content: "Add 2 and 3.".to_owned() }];
            let prompt = |generator: &Generator| generator.conversation(&asked, &|| false).expect("a prompt");
            assert_eq!(prompt(&found), "user: Add 2 and 3.\nassistant:");
            assert_eq!(prompt(&found), prompt(&expected));
            for text in ["def f(a):\n    return a<|endoftext|>", "Größe 1234\t\n\n"] {
                assert_eq!(found.tokenizer.encode(text), expected.tokenizer.encode(text));
            }
        }
        std::fs::remove_dir_all(path("run")).expect("removed");
        std::fs::remove_dir_all(path("sft")).expect("removed");
    }
}
