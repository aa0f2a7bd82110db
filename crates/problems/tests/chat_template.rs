//! A chat template is part of a model's files, which may be anybody's.

use problems::prompt::{ChatTemplate, Message, TemplateProblem};
use serde_json::json;
use std::path::Path;

fn rendered(template: &str) -> Result<String, String> {
    let settings = json!({"chat_template": template});
    let template = ChatTemplate::of(Path::new("model.gguf"), &settings).map_err(|error| error.to_string())?;
    let template = template.expect("a template");
    template.render(&[Message::new("user", "hello")], &|| false).map_err(|error| error.to_string())
}

/// `reference/templates.py` makes the values.
#[test]
fn templates_give_what_transformers_makes_of_them() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/templates.json");
    let reference: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(reference).expect("a file")).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let messages = reference["messages"].as_array().expect("messages");
    let messages =
        messages.iter().map(|message| Message::new(&text(&message["role"]), text(&message["content"])));
    let messages: Vec<Message> = messages.collect();
    let mut wrong = Vec::new();
    for case in reference["cases"].as_array().expect("cases") {
        let settings = json!({"chat_template": case["template"], "bos_token": "<s>"});
        let template =
            ChatTemplate::of(Path::new("model.gguf"), &settings).expect("read").expect("a template");
        let found = template.render(&messages, &|| false).map_err(|error| error.to_string());
        if found != Ok(text(&case["text"])) {
            wrong.push(format!("{}\n  expected {}\n  found {found:?}", case["template"], case["text"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whose fault it is: the client's, which said what the template refuses, or the template's.
#[test]
fn a_template_that_refuses_is_told_from_one_that_is_wrong() {
    let problem = |template: &str| {
        let settings = json!({"chat_template": template});
        let template =
            ChatTemplate::of(Path::new("model.gguf"), &settings).expect("read").expect("a template");
        template.render(&[Message::new("user", "hello")], &|| false).expect_err("an error").problem
    };
    for refusing in [
        "{{ raise_exception('roles must alternate') }}",
        "{% macro f() %}{{ raise_exception('roles must alternate') }}{% endmacro %}{{ f() }}",
    ] {
        let TemplateProblem::Refused(message) = problem(refusing) else { panic!("{refusing}") };
        assert_eq!(message, "roles must alternate");
    }
    for wrong in ["{{ messages | nofilter }}", "{{ 'a'.nomethod() }}", "{{ nofunction() }}", "{{ 1 + 'a' }}"]
    {
        assert!(matches!(problem(wrong), TemplateProblem::Faulty(_)), "{wrong}");
    }
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
    let nested = "{% set ns = namespace(a=[]) %}{% for i in range(100000) %}{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a|tojson }}";
    let _ = rendered(nested);
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

/// Templates that ask for all memory, all time, or all stack, by whatever means of the language.
#[test]
fn what_asks_for_too_much_is_refused() {
    let many = "aaaaaaaaaaaaaaaa".repeat(8);
    let doubled = |step: &str| {
        format!("{{% set ns = namespace(s='aa', l=[1, 2]) %}}{{% for i in range(80) %}}{step}{{% endfor %}}")
    };
    let range = "range(100000)";
    let templates = [
        doubled("{% set ns.s = ns.s ~ ns.s %}") + "{{ ns.s }}",
        doubled("{% set ns.s = ns.s + ns.s %}") + "{{ ns.s }}",
        doubled("{% set ns.l = ns.l + ns.l %}") + "{{ ns.l|length }}{{ ns.l|list|length }}",
        doubled("{% set ns.l = [ns.l, ns.l] %}") + "{{ ns.l|tojson }}",
        doubled("{% set ns.l = [ns.l, ns.l] %}") + "{{ ns.l|string|length }}",
        format!(
            "{{% set x %}}{{% for i in range(1900) %}}{}{{% endfor %}}{{% endset %}}{{{{ x|replace('a', x) }}}}",
            many
        ),
        format!(
            "{{% set a = '{many}' %}}{{% set b = a|replace('a', a) %}}{{% set c = b|replace('a', b) %}}{{{{ c|replace('a', c) }}}}"
        ),
        "{{ '%1000000000d'|format(1) }}{{ '%1000000000d'|format(1) }}".to_owned(),
        "{{ 'a\na'|indent(4000000000) }}".to_owned(),
        "{{ [1]|batch(4000000000, 0)|list }}".to_owned(),
        "{{ [1]|slice(4000000000)|list }}".to_owned(),
        "{{ [1]|tojson(indent=4000000000) }}".to_owned(),
        format!("{{{{ {range}|join('{}') }}}}", many.repeat(20)),
        format!("{{% for i in {range} %}}{{% for j in {range} %}}{many}{{% endfor %}}{{% endfor %}}"),
        format!("{{{{ ({range}|list * 100000)|list|length }}}}"),
    ];
    for template in templates {
        let error = rendered(&template).expect_err(&template);
        assert!(error.starts_with("model.gguf: chat_template: "), "{template}: {error}");
        assert!(error.len() < 500, "{error}");
    }
}

#[test]
fn a_template_renders_the_next_conversation_after_one_that_was_too_much() {
    let settings = json!({"chat_template": "{{ (messages|length > 1) and [1]|batch(4000000000, 0)|list }}{{ messages[0].content }}"});
    let template = ChatTemplate::of(Path::new("model.gguf"), &settings).expect("read").expect("a template");
    let message = || Message::new("user", "hello");
    for _ in 0..2 {
        let error = template.render(&[message(), message()], &|| false).expect_err("too much");
        assert!(error.to_string().contains("MiB of memory"), "{error}");
        assert_eq!(template.render(&[message()], &|| false).expect("a prompt"), "Falsehello");
    }
}

#[test]
fn nobody_waits_for_a_prompt_that_is_not_wanted_any_more() {
    let range = "range(100000)";
    let endless = format!("{{{{ {range}|map('string')|join(',')|length }}}}").repeat(1000);
    let settings = json!({"chat_template": endless});
    let template = ChatTemplate::of(Path::new("model.gguf"), &settings).expect("read").expect("a template");
    let started = std::time::Instant::now();
    let error = template.render(&[], &|| started.elapsed().as_millis() > 100).expect_err("stopped");
    assert!(error.to_string().contains("it was stopped"), "{error}");
    assert!(started.elapsed().as_secs() < 15);
}

#[test]
fn what_a_template_says_cannot_move_the_cursor_of_a_terminal() {
    let error =
        rendered("{{ raise_exception('\x1b[2J\x1b]0;title\x07' ~ 'long ' * 1000) }}").expect_err("refused");
    assert!(error.contains(r"\u{1b}[2J\u{1b}]0;title\u{7}long"), "{error}");
    assert!(!error.chars().any(char::is_control) && error.len() < 500, "{error}");
}
