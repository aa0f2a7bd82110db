//! A chat template is part of a model's files, which may be anybody's.

use problems::prompt::{ChatTemplate, Message};
use serde_json::json;
use std::path::Path;

fn rendered(template: &str) -> Result<String, String> {
    let settings = json!({"chat_template": template});
    let template = ChatTemplate::of(Path::new("model.gguf"), &settings).map_err(|error| error.to_string())?;
    let template = template.expect("a template");
    template.render(&[Message::new("user", "hello")]).map_err(|error| error.to_string())
}

#[test]
fn what_does_not_end_is_refused() {
    let range = "range(100000)";
    let error = rendered(&format!(
        "{{% for i in {range} %}}{{% for j in {range} %}}{{% for k in {range} %}}{{% endfor %}}{{% endfor %}}{{% endfor %}}"
    ))
    .expect_err("no end");
    assert!(error.starts_with("model.gguf: chat_template: "), "{error}");
}

#[test]
fn what_is_nothing_but_levels_harms_nobody() {
    for levels in [
        "not ".repeat(30_000) + "1",
        "1".to_owned() + &"+1".repeat(60_000),
        "a".to_owned() + &".b".repeat(60_000),
    ] {
        // Whether it is refused or not.
        let _ = rendered(&format!("{{{{ {levels} }}}}"));
    }
    let error = rendered(&"x".repeat(1 << 18)).expect_err("too long");
    assert!(error.contains("expected at most 131072 bytes, found 262144"), "{error}");
}

#[test]
fn todays_date_is_known() {
    let year = rendered("{{ strftime_now('%Y') }}").expect("a year");
    assert!(year.parse::<u32>().is_ok_and(|year| year >= 2026), "{year}");
    let error = rendered("{{ strftime_now('%Q') }}").expect_err("no such format");
    assert!(error.contains("'%Q' is no format of dates"), "{error}");
}
