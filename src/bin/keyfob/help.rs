//! `keyfob help`: generated from the tables of the verbs, the options and the exit codes.

use crate::arguments::{Topic, VERBS, Verb};
use crate::failure::EXIT_CODES;
use crate::options::{self, GROUPS, Kind, Origin, Row};

/// The column in which the explanations begin.
const INDENT: usize = 30;
const WIDTH: usize = 100;

pub(crate) const SECRETS: &str = "A secret's file may be `-` for standard input; at a terminal you are asked for it, and what you type is not shown. A name without a slash is looked up in $CREDENTIALS_DIRECTORY first.";
pub(crate) const PROFILE: &str = "PROFILE is a file if it has a slash, else ~/.config/keyfob/PROFILE.json or /etc/keyfob/PROFILE.json: a JSON object with the options' names, underscores for hyphens. Options override it. `keyfob help profile` lists its members.";
pub(crate) const TIMES: &str = "A time T is in seconds (30, 0.5) or has a unit (500ms, 5s, 2m, 1h, 1d).";

pub(crate) fn text(topic: Topic) -> String {
    match topic {
        Topic::All => all(),
        Topic::Verb(verb) => of_verb(verb),
        Topic::Profile => profile(),
        Topic::ExitCodes => exit_codes(),
    }
}

fn all() -> String {
    let mut text = "keyfob gets an OAuth 2.0 access token and keeps it valid.\n\n".to_owned();
    for (name, _, usage, help) in VERBS {
        put(&mut text, &format!("keyfob {name} {usage}"), help);
    }
    put(&mut text, "keyfob --version", "print the version");
    text.push_str("\n`keyfob help VERB` lists the options of that verb alone.\n");
    put_options(&mut text, |row| VERBS.iter().any(|(_, verb, ..)| row.is_option_of(*verb)));
    for paragraph in [SECRETS, PROFILE, TIMES] {
        put_paragraph(&mut text, paragraph);
    }
    let codes: Vec<String> = EXIT_CODES.iter().map(|row| format!("{} {}", row.code, row.summary)).collect();
    put_paragraph(&mut text, &format!("Exit codes: {}. `keyfob help exit-codes` explains them.", codes.join(", ")));
    text
}

fn of_verb(verb: Verb) -> String {
    let mut text = String::new();
    for (name, _, usage, help) in VERBS.iter().filter(|(_, of, ..)| *of == verb) {
        text.push_str(format!("keyfob {name} {usage}").trim_end());
        put_paragraph(&mut text, help);
    }
    put_options(&mut text, |row| row.is_option_of(verb));
    if options::rows().any(|row| row.is_option_of(verb) && row.name == "url") {
        for paragraph in [SECRETS, PROFILE, TIMES] {
            put_paragraph(&mut text, paragraph);
        }
    }
    text
}

fn profile() -> String {
    let mut text = "A profile is a JSON file with the settings of one service, without secrets:\n\n".to_owned();
    text.push_str(concat!(
        "  {\n",
        "    \"url\": \"https://as.example/oauth/token\",\n",
        "    \"client_id\": \"my-client\",\n",
        "    \"client_secret_file\": \"client-secret\",\n",
        "    \"scope\": [\"read\", \"write\"]\n",
        "  }\n",
    ));
    put_paragraph(
        &mut text,
        "`keyfob token NAME` reads ~/.config/keyfob/NAME.json or /etc/keyfob/NAME.json; a name with a slash is the path of a file. Relative paths in a profile count from its directory, and ~/ is the home. Each member, with an example:",
    );
    for (heading, rows) in GROUPS {
        let mut members = rows.iter().filter(|row| row.is_member()).peekable();
        if members.peek().is_some() {
            text.push_str(&format!("\n{heading}\n"));
        }
        for row in members {
            for (member, help) in self::members(row) {
                put(&mut text, &member, help);
            }
        }
    }
    put_paragraph(&mut text, TIMES);
    text
}

fn exit_codes() -> String {
    let mut text = "The exit codes, with the error kinds of --format json:\n\n".to_owned();
    for row in EXIT_CODES {
        let kinds: Vec<&str> = row.kinds.iter().map(|kind| kind.as_str()).collect();
        put(&mut text, format!("{}  {}", row.code, kinds.join(", ")).trim_end(), row.when);
    }
    text.push_str("\nbench and keep exit with 128 + N, if signal N ends them before they have done their work. exec exits\nwith 126 or 127 if the program cannot be started, and else as the program does.\n");
    text
}

/// Returns the option with its value, as it is typed.
pub(crate) fn option(row: &Row) -> String {
    match (row.kind.origins(), row.short) {
        ([], Some(short)) => format!("-{short}, --{} {}", row.name, row.value),
        ([], None) => format!("--{} {}", row.name, row.value),
        (origins, _) => {
            let option =
                |(name, origin): (String, &Origin)| format!("--{name} {}", row.value.replace('F', origin.value));
            row.names().into_iter().zip(origins).map(option).collect::<Vec<_>>().join(", ")
        }
    }
}

/// Returns the members of a row with examples, each with its explanation.
pub(crate) fn members(row: &'static Row) -> Vec<(String, &'static str)> {
    let names: Vec<String> = row.names().iter().map(|name| name.replace('-', "_")).collect();
    let first = (format!("\"{}\": {}", names[0], row.example), row.help);
    let others = names.iter().zip(row.kind.origins()).skip(1).map(|(name, origin)| {
        let help = match origin.ending {
            "profile" => "the same, as the token of another profile",
            _ => "the same, from an environment variable",
        };
        (format!("\"{name}\": {}", row.example_of(origin)), help)
    });
    std::iter::once(first).chain(others).collect()
}

/// Adds the groups of options that pass the filter.
fn put_options(text: &mut String, is_wanted: impl Fn(&Row) -> bool) {
    for (heading, rows) in GROUPS {
        let mut wanted =
            rows.iter().filter(|row| row.kind != Kind::Json && !row.is_hidden() && is_wanted(row)).peekable();
        if wanted.peek().is_some() {
            text.push_str(&format!("\n{heading}\n"));
        }
        for row in wanted {
            put(text, option(row).trim_end(), row.help);
        }
    }
}

/// Adds a subject with its explanation beside it, or below it if there is no room.
fn put(text: &mut String, subject: &str, help: &str) {
    let mut line = format!("  {}", subject.trim_end());
    if line.chars().count() + 2 > INDENT {
        text.push_str(&line);
        text.push('\n');
        line.clear();
    }
    put_wrapped(text, line, help, INDENT);
}

fn put_paragraph(text: &mut String, paragraph: &str) {
    text.push('\n');
    put_wrapped(text, String::new(), paragraph, 0);
}

/// Adds words on indented lines. `line` is the start of the first line.
fn put_wrapped(text: &mut String, mut line: String, words: &str, indent: usize) {
    let mut is_empty = true;
    for word in words.split(' ') {
        let columns = line.chars().count();
        if !is_empty && columns + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line.clear();
            is_empty = true;
        }
        match is_empty {
            true => line.extend(std::iter::repeat_n(' ', indent.saturating_sub(line.chars().count()))),
            false => line.push(' '),
        }
        line.push_str(word);
        is_empty = false;
    }
    text.push_str(&line);
    text.push('\n');
}
