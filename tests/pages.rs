//! The manual pages and completions in `src/docs/man` and `src/docs/completions`: made from the command's own tables of
//! verbs, options and exit codes, so that they say what `keyfob help` says. After a change of a table:
//! `KEYFOB_WRITE_PAGES=1 cargo test --features cli --test pages`.

#![cfg(feature = "cli")]
#![allow(dead_code, unreachable_pub, missing_docs, reason = "the command's modules, of which a part is used")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::write_with_newline)]

extern crate alloc;

#[path = "../src/bin/keyfob/arguments.rs"]
mod arguments;
#[path = "../src/bin/keyfob/failure.rs"]
mod failure;
#[path = "../src/bin/keyfob/format.rs"]
mod format;
#[path = "../src/bin/keyfob/help.rs"]
mod help;
#[path = "../src/bin/keyfob/options.rs"]
mod options;
#[path = "../src/bin/keyfob/output.rs"]
mod output;
#[path = "../src/words.rs"]
mod words;

mod process {
    pub(crate) fn is_stdout_closed() -> bool {
        false
    }
}

mod stderr {
    pub(crate) fn line(_: &str) {}
}

use arguments::{VERBS, Verb};
use failure::EXIT_CODES;
use options::{GROUPS, Kind, Row};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The words that an option takes.
const VALUES: &[(&str, &str)] = &[
    ("dialect", "json-credentials bearer-session form-credentials user-credentials"),
    ("grant", "client_credentials password bearer_session refresh_token"),
    ("params", "form json query"),
    ("method", "POST PUT GET"),
    ("format", "token header curl json"),
];

const NOTICE: &str = "Made by tests/pages.rs from the table of options.";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs")
}

/// The options of a verb.
fn options_of(verb: Verb) -> impl Iterator<Item = &'static Row> {
    options::rows().filter(move |row| row.is_option_of(verb) && !row.is_hidden())
}

fn has_profile(verb: Verb) -> bool {
    options_of(verb).any(|row| row.name == "url")
}

fn topics() -> Vec<&'static str> {
    VERBS.iter().map(|(name, ..)| *name).chain(["profile", "exit-codes"]).collect()
}

/// The programs of `helper`, as its usage names them.
fn programs() -> String {
    let usage = VERBS.iter().find(|(name, ..)| *name == "helper").map_or("", |(_, _, usage, _)| usage);
    usage.split(" PROFILE").next().unwrap_or_default().replace(" |", "")
}

/// All files, by their paths below `src/docs`.
fn pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    pages.insert("man/keyfob.1".to_owned(), main_page());
    pages.insert("man/keyfob.5".to_owned(), profile_page());
    for verb in VERBS {
        pages.insert(format!("man/keyfob-{}.1", verb.0), verb_page(verb));
    }
    pages.insert("completions/keyfob.bash".to_owned(), bash());
    pages.insert("completions/_keyfob".to_owned(), zsh());
    pages.insert("completions/keyfob.fish".to_owned(), fish());
    pages
}

/// Text in roff: no line is a request, and hyphens are those that are typed.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('…', "\\&...").replace('\'', "\\(aq");
    let text: Vec<&str> = text.split('`').collect();
    let parts = text
        .iter()
        .enumerate()
        .map(|(at, part)| if at % 2 == 1 { format!("\\fB{part}\\fR") } else { (*part).to_owned() });
    parts.collect()
}

/// The same, on lines of up to 80 columns.
fn lines(text: &str) -> String {
    let (mut lines, mut column) = (String::new(), 0);
    for word in roff(text).split(' ') {
        let word = if word.starts_with('.') { format!("\\&{word}") } else { word.to_owned() };
        let is_room = column + 1 + word.len() <= 78;
        column = if is_room { column + 1 + word.len() } else { word.len() };
        lines += if lines.is_empty() {
            ""
        } else if is_room {
            " "
        } else {
            "\n"
        };
        lines += &word;
    }
    lines
}

fn title(name: &str, section: u8, summary: &str) -> String {
    let upper = name.to_uppercase();
    format!(
        ".\\\" {NOTICE}\n.TH {} {section} 2026-11-25 \"keyfob {}\"\n.SH NAME\n{}\n",
        roff(&upper),
        env!("CARGO_PKG_VERSION"),
        lines(&format!("{name} - {summary}"))
    )
}

fn item(page: &mut String, subject: &str, text: &str) {
    write!(page, ".TP\n\\fB{}\\fR\n{}\n", roff(subject.trim_end()), lines(text)).unwrap();
}

fn paragraphs(page: &mut String, texts: &[&str]) {
    for (at, text) in texts.iter().enumerate() {
        write!(page, "{}{}\n", if at == 0 { "" } else { ".PP\n" }, lines(text)).unwrap();
    }
}

fn synopsis(page: &mut String, name: &str, usage: &str) {
    let text = format!("`keyfob {name}` {usage}");
    write!(page, "{}\n", lines(text.trim_end())).unwrap();
}

fn see_also(page: &mut String, but: &str) {
    let verbs = VERBS.iter().map(|(name, ..)| format!("keyfob-{name}")).map(|name| (name, 1));
    let all = [("keyfob".to_owned(), 1)].into_iter().chain(verbs).chain([("keyfob".to_owned(), 5)]);
    let others = all.filter(|(name, section)| format!("{name}({section})") != but);
    let others: Vec<String> = others.map(|(name, section)| format!(".BR {} ({section})", roff(&name))).collect();
    write!(page, ".SH SEE ALSO\n{}\n", others.join(" ,\n")).unwrap();
}

fn main_page() -> String {
    let mut page = title("keyfob", 1, "get an OAuth 2.0 access token and keep it valid");
    page.push_str(".SH SYNOPSIS\n");
    for (at, (name, _, usage, _)) in VERBS.iter().enumerate() {
        page.push_str(if at == 0 { "" } else { ".br\n" });
        synopsis(&mut page, name, usage);
    }
    page.push_str(".SH DESCRIPTION\n");
    paragraphs(
        &mut page,
        &[
            "`keyfob` prints an access token, keeps one in a file, gives one to a program, or ends one. The answer goes to standard output; errors and hints go to standard error.",
            help::PROFILE,
            help::SECRETS,
            help::TIMES,
        ],
    );
    page.push_str(".SH COMMANDS\n");
    for (name, _, _, summary) in VERBS {
        item(&mut page, name, summary);
    }
    page.push_str(".SH EXIT STATUS\n");
    for row in EXIT_CODES {
        item(&mut page, &row.code.to_string(), row.when);
    }
    page.push_str(".SH FILES\n");
    item(&mut page, "~/.config/keyfob/PROFILE.json", "a profile of the user; $XDG_CONFIG_HOME replaces ~/.config");
    item(&mut page, "/etc/keyfob/PROFILE.json", "a profile of the system");
    see_also(&mut page, "keyfob(1)");
    page
}

fn verb_page((name, verb, usage, summary): &(&str, Verb, &str, &str)) -> String {
    let mut page = title(&format!("keyfob-{name}"), 1, summary);
    page.push_str(".SH SYNOPSIS\n");
    synopsis(&mut page, name, usage);
    if options_of(*verb).next().is_some() {
        page.push_str(".SH OPTIONS\n");
    }
    for (heading, rows) in GROUPS {
        let mut rows = rows.iter().filter(|row| row.is_option_of(*verb) && !row.is_hidden()).peekable();
        if rows.peek().is_some() {
            write!(page, ".SS {}\n", roff(heading)).unwrap();
        }
        for row in rows {
            item(&mut page, &help::option(row), row.help);
        }
    }
    if has_profile(*verb) {
        page.push_str(".SH NOTES\n");
        paragraphs(&mut page, &[help::PROFILE, help::SECRETS, help::TIMES]);
    }
    page.push_str(".SH EXIT STATUS\nAs for every command: see\n.BR keyfob (1).\n");
    see_also(&mut page, &format!("keyfob-{name}(1)"));
    page
}

fn profile_page() -> String {
    let mut page = title("keyfob", 5, "the profile of a service");
    page.push_str(".SH DESCRIPTION\n");
    paragraphs(
        &mut page,
        &[
            "A profile is a JSON object with the settings of one service, without secrets.",
            help::PROFILE,
            "Relative paths in a profile count from its directory, and ~/ is the home. Each member below is shown with an example.",
            help::TIMES,
        ],
    );
    page.push_str(".SH MEMBERS\n");
    for (heading, rows) in GROUPS {
        let mut rows = rows.iter().filter(|row| row.is_member()).peekable();
        if rows.peek().is_some() {
            write!(page, ".SS {}\n", roff(heading)).unwrap();
        }
        for (member, text) in rows.flat_map(help::members) {
            item(&mut page, &member, text);
        }
    }
    page.push_str(".SH EXAMPLES\n.EX\n{\n  \"url\": \"https://as.example/oauth/token\",\n  \"client_id\": \"my\\-client\",\n  \"client_secret_file\": \"client\\-secret\",\n  \"scope\": [\"read\", \"write\"]\n}\n.EE\n");
    see_also(&mut page, "keyfob(5)");
    page
}

/// The options with `--` of the rows that pass.
fn typed(verb: Option<Verb>, is_wanted: impl Fn(&Row) -> bool) -> Vec<String> {
    let rows = options::rows().filter(|row| row.kind != Kind::Json && !row.is_hidden());
    let rows = rows.filter(|row| verb.is_none_or(|verb| row.is_option_of(verb)) && is_wanted(row));
    rows.flat_map(Row::names).map(|name| format!("--{name}")).collect()
}

/// The options whose value is a file.
fn of_files() -> Vec<String> {
    let files = typed(None, |row| matches!(row.kind, Kind::Path | Kind::Credential));
    let secrets = typed(None, |row| !row.kind.origins().is_empty() && !matches!(row.kind, Kind::SecretPairs(_)));
    files.into_iter().chain(secrets.into_iter().filter(|name| name.ends_with("-file"))).collect()
}

/// The options whose value is a profile.
fn of_profiles() -> Vec<String> {
    typed(None, |row| !matches!(row.kind, Kind::SecretPairs(_)))
        .into_iter()
        .filter(|name| name.ends_with("-profile"))
        .collect()
}

/// The other options that take a value.
fn of_texts() -> Vec<String> {
    let is_known = |name: &String| {
        let is_words = VALUES.iter().any(|(known, _)| *name == format!("--{known}"));
        is_words || name == "--environment" || of_files().contains(name) || of_profiles().contains(name)
    };
    typed(None, |row| row.kind != Kind::Flag).into_iter().filter(|name| !is_known(name)).collect()
}

/// Lists profiles, and the environments of one, in a POSIX shell.
const SHELL: &str = r#"_keyfob_profiles() {
    local file
    for file in "${XDG_CONFIG_HOME:-$HOME/.config}"/keyfob/*.json /etc/keyfob/*.json; do
        [ -f "$file" ] || continue
        file=${file##*/}
        printf '%s\n' "${file%.json}"
    done
}

_keyfob_environments() {
    local word file
    for word in "$@"; do
        for file in "$word" "${XDG_CONFIG_HOME:-$HOME/.config}/keyfob/$word.json" "/etc/keyfob/$word.json"; do
            [ -f "$file" ] || continue
            tr -d '\n' <"$file" | sed -n 's/.*"environments"[^{]*{\([^}]*\)}.*/\1/p' | grep -o '"[^"]*" *:' | tr -d '": '
            return
        done
    done
}
"#;

fn bash() -> String {
    let mut text = format!("# bash completion for keyfob. {NOTICE}\n\n{SHELL}\n_keyfob() {{\n");
    text.push_str("    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words= IFS=$' \\n'\n    COMPREPLY=()\n");
    text.push_str("    case $before in\n");
    for (name, values) in VALUES {
        write!(text, "    --{name}) words='{values}' ;;\n").unwrap();
    }
    text.push_str("    --environment) words=$(_keyfob_environments \"${COMP_WORDS[@]:2}\") ;;\n");
    write!(text, "    {})\n        words=$(_keyfob_profiles) ;;\n", of_profiles().join(" | ")).unwrap();
    write!(text, "    {})\n", of_files().join(" | ")).unwrap();
    text.push_str("        IFS=$'\\n' COMPREPLY=($(compgen -f -- \"$word\"))\n        return ;;\n");
    write!(text, "    {})\n        return ;;\n", of_texts().join(" | ")).unwrap();
    let verbs: Vec<&str> = VERBS.iter().map(|(name, ..)| *name).collect();
    write!(
        text,
        "    *)\n        case $COMP_CWORD,${{COMP_WORDS[1]}} in\n        1,*) words='{} --help --version' ;;\n",
        verbs.join(" ")
    )
    .unwrap();
    write!(text, "        2,help) words='{}' ;;\n        2,helper) words='{}' ;;\n", topics().join(" "), programs())
        .unwrap();
    for (name, verb, ..) in VERBS.iter().filter(|(_, verb, ..)| *verb != Verb::Help) {
        let profiles = if has_profile(*verb) { " $(_keyfob_profiles)" } else { "" };
        write!(text, "        *,{name}) words=\"{} --help{profiles}\" ;;\n", typed(Some(*verb), |_| true).join(" "))
            .unwrap();
    }
    text.push_str("        esac ;;\n    esac\n    COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n");
    text.push_str("    [[ $word == */* ]] && IFS=$'\\n' COMPREPLY+=($(compgen -f -- \"$word\"))\n    return 0\n}\n\ncomplete -o filenames -F _keyfob keyfob\n");
    text
}

/// A text in single quotes.
fn quoted(text: &str, quote: &str) -> String {
    format!("'{}'", text.replace('\'', quote))
}

fn zsh() -> String {
    let described = |name: &str, help: &str| format!("        {}\n", quoted(&format!("{name}:{help}"), "'\\''"));
    let mut text = format!("#compdef keyfob\n# zsh completion for keyfob. {NOTICE}\n\n{SHELL}\n_keyfob() {{\n");
    text.push_str("    setopt localoptions nonomatch\n    local -a list\n    case $words[CURRENT-1] in\n");
    for (name, values) in VALUES {
        write!(text, "    --{name}) compadd -- {values}; return ;;\n").unwrap();
    }
    text.push_str("    --environment) compadd -- ${(f)\"$(_keyfob_environments $words[3,-1])\"}; return ;;\n");
    write!(text, "    {}) compadd -- ${{(f)\"$(_keyfob_profiles)\"}}; return ;;\n", of_profiles().join("|")).unwrap();
    write!(text, "    {}) _files; return ;;\n", of_files().join("|")).unwrap();
    write!(text, "    {}) return ;;\n    esac\n", of_texts().join("|")).unwrap();
    text.push_str("    case $CURRENT,$words[2] in\n    2,*)\n        list=(\n");
    for (name, _, _, summary) in VERBS {
        text.push_str(&described(name, summary));
    }
    text.push_str("        )\n        _describe command list\n        return ;;\n");
    write!(
        text,
        "    3,help) compadd -- {}; return ;;\n    3,helper) compadd -- {}; return ;;\n",
        topics().join(" "),
        programs()
    )
    .unwrap();
    for (name, verb, ..) in VERBS.iter().filter(|(_, verb, ..)| *verb != Verb::Help) {
        write!(text, "    *,{name})\n        list=(\n").unwrap();
        for row in options_of(*verb) {
            for option in row.names() {
                text.push_str(&described(&format!("--{option}"), row.help));
            }
        }
        text.push_str(&described("--help", "print the help of this command"));
        text.push_str("        )\n");
        if has_profile(*verb) {
            text.push_str("        [[ $words[CURRENT] == -* ]] || compadd -- ${(f)\"$(_keyfob_profiles)\"}\n");
        }
        text.push_str("        ;;\n");
    }
    text.push_str("    esac\n    [[ $words[CURRENT] == -* ]] && _describe option list || _files\n}\n\n");
    text.push_str("if [[ $funcstack[1] == _keyfob ]]; then _keyfob \"$@\"; else compdef _keyfob keyfob; fi\n");
    text
}

fn fish() -> String {
    let mut text = format!("# fish completion for keyfob. {NOTICE}\n\n");
    text.push_str(
        r#"function __keyfob_profiles
    set -l config $XDG_CONFIG_HOME
    test -n "$config"; or set config $HOME/.config
    for file in $config/keyfob/*.json /etc/keyfob/*.json
        string replace -r '.*/(.*)\.json$' '$1' $file
    end
end

function __keyfob_environments
    set -l config $XDG_CONFIG_HOME
    test -n "$config"; or set config $HOME/.config
    for word in (commandline -opc)[3..]
        for file in $word $config/keyfob/$word.json /etc/keyfob/$word.json
            test -f $file; or continue
            string join '' <$file | string match -r '"environments"[^{]*\{[^}]*\}' | string match -ar '"[^"]*"(?= *:)' | string trim -c '"' | string match -v environments
            return
        end
    end
end

complete -c keyfob -f
"#,
    );
    let is_first = "-n '__fish_is_nth_token 1'";
    for (name, _, _, summary) in VERBS {
        write!(text, "complete -c keyfob {is_first} -a {name} -d {}\n", quoted(summary, "\\'")).unwrap();
    }
    write!(text, "complete -c keyfob {is_first} -l help -d 'print the help'\ncomplete -c keyfob {is_first} -l version -d 'print the version'\n").unwrap();
    let second = |verb: &str| format!("-n '__fish_is_nth_token 2; and __fish_seen_subcommand_from {verb}'");
    write!(text, "complete -c keyfob {} -a '{}'\n", second("help"), topics().join(" ")).unwrap();
    write!(text, "complete -c keyfob {} -a '{}'\n", second("helper"), programs()).unwrap();
    let with_profile: Vec<&str> =
        VERBS.iter().filter(|(_, verb, ..)| has_profile(*verb)).map(|(name, ..)| *name).collect();
    write!(
        text,
        "complete -c keyfob -n '__fish_seen_subcommand_from {}' -a '(__keyfob_profiles)'\n",
        with_profile.join(" ")
    )
    .unwrap();
    for row in options::rows().filter(|row| row.kind != Kind::Json && !row.is_hidden()) {
        let verbs: Vec<&str> =
            VERBS.iter().filter(|(_, verb, ..)| row.is_option_of(*verb)).map(|(name, ..)| *name).collect();
        for name in row.names() {
            let option = format!("--{name}");
            let words =
                VALUES.iter().find(|(known, _)| *known == row.name).map(|(_, values)| format!(" -x -a '{values}'"));
            let value = match words {
                Some(words) => words,
                None if row.kind == Kind::Flag => String::new(),
                None if of_files().contains(&option) => " -r -F".to_owned(),
                None if of_profiles().contains(&option) => " -x -a '(__keyfob_profiles)'".to_owned(),
                None if name == "environment" => " -x -a '(__keyfob_environments)'".to_owned(),
                None => " -x".to_owned(),
            };
            let short = row.short.map(|short| format!(" -s {short}")).unwrap_or_default();
            let help = quoted(row.help, "\\'");
            write!(
                text,
                "complete -c keyfob -n '__fish_seen_subcommand_from {}' -l {name}{short}{value} -d {help}\n",
                verbs.join(" ")
            )
            .unwrap();
        }
    }
    text
}

#[test]
fn the_files_are_what_the_tables_say() {
    let is_to_write = std::env::var_os("KEYFOB_WRITE_PAGES").is_some();
    let mut known: Vec<PathBuf> = Vec::new();
    for (name, text) in pages() {
        let path = root().join(&name);
        if is_to_write {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == text,
            "{name} is not what the tables say: KEYFOB_WRITE_PAGES=1 cargo test --features cli --test pages"
        );
        known.push(path);
    }
    for directory in ["man", "completions"] {
        for entry in std::fs::read_dir(root().join(directory)).unwrap() {
            let path = entry.unwrap().path();
            assert!(known.contains(&path), "{} is made from no table", path.display());
        }
    }
}

#[test]
fn each_option_is_in_help_page_completion_and_documentation() {
    let pages = pages();
    let mut documentation = std::fs::read_to_string(root().join("../../README.md")).unwrap();
    for entry in std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        documentation += &std::fs::read_to_string(entry).unwrap();
    }
    let mut missing = Vec::new();
    for (verb_name, verb, ..) in VERBS {
        let page = &pages[&format!("man/keyfob-{verb_name}.1")];
        let help = help::text(arguments::Topic::Verb(*verb));
        for row in options_of(*verb) {
            for name in row.names() {
                assert!(page.contains(&roff(&format!("--{name}"))), "{verb_name}: {name}: manual page");
                assert!(help.contains(&format!("--{name}")), "{verb_name}: {name}: help");
                assert!(pages["completions/keyfob.bash"].contains(&format!("--{name}")), "{name}: bash");
                assert!(pages["completions/_keyfob"].contains(&format!("'--{name}:")), "{name}: zsh");
                assert!(pages["completions/keyfob.fish"].contains(&format!(" -l {name} ")), "{name}: fish");
                let is_there = documentation.contains(&format!("--{name}"))
                    || documentation.contains(&format!("`{}`", name.replace('-', "_")))
                    || documentation.contains(&format!("`{}`", row.name.replace('-', "_")));
                if !is_there {
                    missing.push(name);
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?} in no documentation");
    for (name, values) in VALUES {
        let row = options::rows().find(|row| row.name == *name).unwrap();
        assert!(values.split(' ').all(|value| row.help.contains(value)), "{name}: {values}");
    }
}

/// Runs a program that examines or uses a file; none if it is not installed.
fn checked(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    Some(text)
}

#[test]
fn the_manual_pages_are_clean() {
    for name in pages().keys().filter(|name| name.starts_with("man/")) {
        let path = root().join(name).into_os_string().into_string().unwrap();
        assert_eq!(checked("mandoc", &["-T", "lint", "-W", "style", &path]).unwrap_or_default(), "", "{name}");
        let warnings = Command::new("groff").args(["-man", "-ww", "-z", "-Tutf8", &path]).output();
        assert!(
            warnings.is_ok_and(|output| output.stderr.is_empty()) || checked("groff", &["--version"]).is_none(),
            "{name}"
        );
    }
}

#[test]
fn the_completions_complete_where_their_shell_is_installed() {
    let path = |name: &str| root().join("completions").join(name).into_os_string().into_string().unwrap();
    checked("zsh", &["-n", &path("_keyfob")]);
    checked("fish", &["--no-execute", &path("keyfob.fish")]);
    let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pages-{}", std::process::id()));
    std::fs::create_dir_all(config.join("keyfob")).unwrap();
    let profile = r#"{"environments": {"eu": "https://eu.a.example", "us": "https://us.a.example"}}"#;
    std::fs::write(config.join("keyfob/meter.json"), profile).unwrap();
    for (words, expected) in [
        ("keyfob tok", "token"),
        ("keyfob hel", "helper help"),
        ("keyfob help exi", "exit-codes"),
        ("keyfob helper ku", "kubectl"),
        ("keyfob token met", "meter"),
        ("keyfob helper git met", "meter"),
        ("keyfob token meter --environment ''", "eu us"),
        ("keyfob token --format h", "header"),
        ("keyfob token --client-secret-e", "--client-secret-env"),
        ("keyfob keep --on", "--on-renew"),
        ("keyfob token --on", ""),
        ("keyfob token --url ''", ""),
    ] {
        let script = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); _keyfob; echo \"${{COMPREPLY[*]}}\"",
            path("keyfob.bash")
        );
        let output = Command::new("bash").args(["--norc", "-c", &script]).env("XDG_CONFIG_HOME", &config).output();
        let Ok(output) = output else { break };
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(text.trim(), expected, "{words}");
    }
    for (words, expected) in [
        ("keyfob token met", "meter"),
        ("keyfob token meter --environment ", "eu us"),
        ("keyfob helper ku", "kubectl"),
        ("keyfob token --url ", ""),
    ] {
        let script = format!("source {}; complete -C '{words}'", path("keyfob.fish"));
        let output = Command::new("fish").args(["--no-config", "-c", &script]).env("XDG_CONFIG_HOME", &config).output();
        let Ok(output) = output else { break };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let found: Vec<&str> = text.lines().filter_map(|line| line.split('\t').next()).collect();
        assert_eq!(found.join(" "), expected, "{words}: {output:?}");
    }
    // In place of zsh's own functions, which need a terminal.
    let stubs = "compdef() {}; compadd() { shift; echo $@ }; _describe() { echo $1 }; _files() { echo files }";
    for (words, expected) in [
        ("keyfob tok", "command"),
        ("keyfob token met", "meter\nfiles"),
        ("keyfob token meter --environment ''", "eu us"),
        ("keyfob token --fo", "option"),
        ("keyfob token --url ''", ""),
    ] {
        let script = format!("{stubs}; source {}; words=({words}); CURRENT=$#words; _keyfob", path("_keyfob"));
        let output = Command::new("zsh").args(["-f", "-c", &script]).env("XDG_CONFIG_HOME", &config).output();
        let Ok(output) = output else { break };
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{words}: {output:?}");
    }
    std::fs::remove_dir_all(config).unwrap();
}
