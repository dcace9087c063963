//! The table of the options and of the members of a profile. Each row describes one option. Parsing, help and the
//! accepted members of a profile are derived from it.

use crate::arguments::Verb;
use miniserde::json::Object;

/// The kind of an option's value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    /// Texts. The option may be repeated.
    Texts,
    /// Names with values, joined with this character. The option may be repeated.
    Pairs(char),
    /// Names with the places of secrets, joined with this character. The option may be repeated.
    SecretPairs(char),
    /// A secret. It has several options and members, whose endings name its origin.
    Secret,
    /// A secret that cannot be another profile's token.
    OwnSecret,
    /// A file that is located like a secret's file, but is not secret.
    Credential,
    /// Any other file or directory.
    Path,
    /// A duration: seconds, or a number with a unit.
    Duration,
    /// A whole number.
    Number,
    Flag,
    /// Any JSON value. Only a profile can have it.
    Json,
}

/// The origin of a secret: the ending of its options and members, the name of the value in help, an example, and a word
/// for several of them.
pub(crate) struct Origin {
    pub(crate) ending: &'static str,
    pub(crate) value: &'static str,
    example: &'static str,
    pub(crate) what: &'static str,
}

const ORIGINS: [Origin; 3] = [
    Origin { ending: "file", value: "F", example: "", what: "files" },
    Origin { ending: "env", value: "V", example: "VARIABLE", what: "environment variables" },
    Origin { ending: "profile", value: "P", example: "login", what: "profiles" },
];

impl Kind {
    /// Returns the origins that a secret of this kind may have. Empty for any other kind.
    pub(crate) fn origins(self) -> &'static [Origin] {
        match self {
            Self::Secret | Self::SecretPairs(_) => &ORIGINS,
            Self::OwnSecret => &ORIGINS[..2],
            _ => &[],
        }
    }
}

/// The verbs that take an option, and the readers of its member.
type Places = u16;
const TOKEN: Places = 1;
const REVOKE: Places = 2;
const KEEP: Places = 4;
const BENCH: Places = 8;
const PARSE: Places = 16;
/// An option that only a process of keyfob's own gives, so help does not show it.
const HIDDEN: Places = 32;
/// A member that the library reads, as a part of the endpoint's description.
const ENDPOINT: Places = 64;
/// A member that the command reads.
const PROFILE: Places = 128;
/// A member that a dialect sets.
const PRESET: Places = 256;
const FROM_CURL: Places = 512;
const EXEC: Places = 1024;
const STATUS: Places = 2048;
const FORGET: Places = 4096;
const HELPER: Places = 8192;
const PROBE: Places = 16384;
const INTROSPECT: Places = 32768;
const FETCH: Places = TOKEN | REVOKE | KEEP | BENCH | PROBE | EXEC | STATUS | FORGET | HELPER | INTROSPECT;
const DESCRIBED: Places = FETCH | ENDPOINT;
const ASKED: Places = FETCH | PROFILE;

/// An option, a member of a profile, or both.
pub(crate) struct Row {
    /// The option's name without `--`. The member has underscores instead of hyphens.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    places: Places,
    /// The name of the value in help.
    pub(crate) value: &'static str,
    pub(crate) help: &'static str,
    /// The member's value in an example, as JSON.
    pub(crate) example: &'static str,
    pub(crate) short: Option<char>,
}

const fn row(name: &'static str, kind: Kind, places: Places, value: &'static str, help: &'static str) -> Row {
    Row { name, kind, places, value, help, example: "", short: None }
}

impl Row {
    const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    /// Returns the options or members of this row, with hyphens.
    pub(crate) fn names(&self) -> Vec<String> {
        match self.kind.origins() {
            [] => vec![self.name.to_owned()],
            origins => origins.iter().map(|origin| format!("{}-{}", self.name, origin.ending)).collect(),
        }
    }

    /// Returns the example with an origin of this kind instead of the file.
    pub(crate) fn example_of(&self, origin: &Origin) -> String {
        let file_end = self.example.trim_end_matches(['"', '}']).len();
        let file_start = self.example[..file_end].rfind('"').map_or(0, |quote| quote + 1);
        format!("{}{}{}", &self.example[..file_start], origin.example, &self.example[file_end..])
    }

    fn has_name(&self, name: &str) -> bool {
        match self.kind.origins() {
            [] => self.name == name,
            origins => name
                .strip_prefix(self.name)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|ending| origins.iter().any(|origin| origin.ending == ending)),
        }
    }

    /// Returns whether this verb accepts the option.
    pub(crate) fn is_option_of(&self, verb: Verb) -> bool {
        self.kind != Kind::Json && self.places & place(verb) != 0
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.places & HIDDEN != 0
    }

    /// Returns whether a profile may have it.
    pub(crate) fn is_member(&self) -> bool {
        self.places & (ENDPOINT | PROFILE) != 0
    }

    /// Returns whether the library reads it.
    pub(crate) fn is_described(&self) -> bool {
        self.places & ENDPOINT != 0
    }

    pub(crate) fn is_preset(&self) -> bool {
        self.places & PRESET != 0
    }
}

fn place(verb: Verb) -> Places {
    match verb {
        Verb::Token => TOKEN,
        Verb::Revoke => REVOKE,
        Verb::Keep => KEEP,
        Verb::Bench => BENCH,
        Verb::Probe => PROBE,
        Verb::Parse => PARSE,
        Verb::FromCurl => FROM_CURL,
        Verb::Exec => EXEC,
        Verb::Status => STATUS,
        Verb::Forget => FORGET,
        Verb::Helper => HELPER,
        Verb::Introspect => INTROSPECT,
        Verb::Demo | Verb::Help | Verb::Version => 0,
    }
}

/// Returns all rows.
pub(crate) fn rows() -> impl Iterator<Item = &'static Row> {
    GROUPS.iter().flat_map(|(_, rows)| rows.iter())
}

/// Returns the option of this verb with this name.
pub(crate) fn option(verb: Verb, name: &str) -> Option<&'static Row> {
    rows().find(|row| row.is_option_of(verb) && row.has_name(name))
}

/// Returns the member of a profile with this name.
pub(crate) fn member(name: &str) -> Option<&'static Row> {
    // A member has underscores and no hyphens.
    let option = name.replace('_', "-");
    rows().find(|row| row.is_member() && !name.contains('-') && row.has_name(&option))
}

/// Returns the names of all members.
pub(crate) fn members() -> Vec<String> {
    rows().filter(|row| row.is_member()).flat_map(Row::names).map(|name| name.replace('-', "_")).collect()
}

/// Returns the secret of this name, with hyphens or underscores.
pub(crate) fn secret(name: &str) -> Option<&'static Row> {
    let name = name.replace('_', "-");
    let is_plain = |row: &Row| row.kind == Kind::Text && row.name == name;
    rows()
        .find(|row| matches!(row.kind, Kind::Secret | Kind::OwnSecret) && row.name == name)
        .filter(|_| !rows().any(is_plain))
}

/// Returns the secret or the secret pairs that this member sets, and the ending that names their origin.
pub(crate) fn source(member: &str) -> Option<(&str, &str)> {
    let row = self::member(member).filter(|row| !row.kind.origins().is_empty())?;
    let (name, ending) = member.split_at(row.name.len());
    Some((name, &ending[1..]))
}

/// Returns the members that can name the origin of a secret or of secret pairs.
pub(crate) fn sources(name: &str) -> impl Iterator<Item = (String, &'static Origin)> {
    let row = rows().find(|row| !row.kind.origins().is_empty() && row.name == name.replace('_', "-"));
    let origins = row.map_or(&[][..], |row| row.kind.origins());
    origins.iter().map(move |origin| (format!("{name}_{}", origin.ending), origin))
}

/// Returns those of them that are in `members`.
pub(crate) fn given(members: &Object, name: &str) -> Vec<(String, &'static Origin)> {
    let is_from = |member: &str, origin: &Origin| {
        member.strip_prefix(name).and_then(|rest| rest.strip_prefix('_')) == Some(origin.ending)
    };
    let given = |origin| members.keys().find(|member| is_from(member, origin)).map(|member| (member.clone(), origin));
    ORIGINS.iter().filter_map(given).collect()
}

/// The rows in the order of help, with a heading for each group.
pub(crate) const GROUPS: &[(&str, &[Row])] = &[
    (
        "The request",
        &[
            row("url", Kind::Text, DESCRIBED, "URL", "the token endpoint").example(r#""https://as.example/token""#),
            row("issuer", Kind::Text, DESCRIBED, "URL", "the issuer, whose metadata (RFC 8414) has the endpoints if there is no `url`")
                .example(r#""https://as.example""#),
            row("environments", Kind::Json, ENDPOINT, "", "base URLs by name, instead of `url`")
                .example(r#"{"eu": "https://eu.a.example", "us": "https://us.a.example"}"#),
            row("environment", Kind::Text, DESCRIBED, "E", "the name of the environment to use").example(r#""eu""#),
            row("path", Kind::Json, ENDPOINT, "", "the path to append to the environment's URL").example(r#""/oauth/token""#),
            row(
                "dialect",
                Kind::Text,
                DESCRIBED,
                "D",
                "json-credentials, bearer-session, form-credentials or user-credentials: a preset of the options below, \
                 each of which overrides it",
            )
            .example(r#""form-credentials""#),
            row(
                "grant",
                Kind::Text,
                DESCRIBED | PRESET,
                "G",
                "client_credentials (default), password, bearer_session, refresh_token, jwt_bearer (with a signing key), or the \
                 grant_type of another grant",
            )
            .example(r#""client_credentials""#),
            row("params", Kind::Text, DESCRIBED | PRESET, "P", "where parameters go: form (default), json or query (implied by GET)")
                .example(r#""json""#),
            row(
                "auth",
                Kind::Text,
                DESCRIBED | PRESET,
                "A",
                "client_secret_basic (default for form), client_secret_post (default for json and query), private_key_jwt \
                 (default with a signing key), client_secret_jwt, tls_client_auth (with the client certificate) or none \
                 (default without a client secret)",
            )
            .example(r#""client_secret_post""#),
            row("method", Kind::Text, DESCRIBED | PRESET, "M", "POST (default; GET for a bearer session), PUT or GET")
                .example(r#""POST""#),
            row("client-id", Kind::Text, ASKED, "ID", "the client identifier").example(r#""my-client""#),
            row("username", Kind::Text, ASKED, "U", "the user name, for the grant password").example(r#""meter-7""#),
            row("scope", Kind::Texts, ASKED, "S", "the scope; may be repeated").example(r#"["read", "write"]"#),
            row("resource", Kind::Texts, DESCRIBED, "URI", "the API that the token is for (RFC 8707); may be repeated")
                .example(r#""https://api.example""#),
            row(
                "scope-required",
                Kind::Json,
                ENDPOINT | PRESET,
                "",
                "true: without a scope nothing is sent",
            )
            .example("true"),
            row("omit-grant-type", Kind::Json, ENDPOINT | PRESET, "", "true: no grant_type is sent").example("true"),
            row(
                "param",
                Kind::Pairs('='),
                DESCRIBED,
                "K=V",
                "an extra parameter (audience, resource, tenant); may be repeated",
            )
            .example(r#"{"audience": "https://api.example"}"#),
            row("header", Kind::Pairs(':'), DESCRIBED, "'K: V'", "an extra header; may be repeated")
                .example(r#"{"X-Tenant": "acme"}"#),
            row("basic-raw", Kind::Flag, DESCRIBED, "", "do not form-encode Basic credentials, for servers that do not decode them")
                .example("true"),
            row("allow-http", Kind::Flag, DESCRIBED, "", "allow plain http to a host that is not loopback or link-local").example("true"),
            row("revoke", Kind::Json, ENDPOINT | PRESET, "", "\"delete\": a session is ended by DELETE on the same URL with its token")
                .example(r#""delete""#),
            row("revocation-url", Kind::Json, ENDPOINT, "", "the revocation endpoint (RFC 7009) that ends tokens")
                .example(r#""https://as.example/revoke""#),
            row("introspection-url", Kind::Json, ENDPOINT, "", "the introspection endpoint (RFC 7662) that says whether a token is valid")
                .example(r#""https://as.example/introspect""#),
            row("var", Kind::Pairs('='), DESCRIBED, "K=V", "a variable for {K} in URL, parameters and headers; may be repeated")
                .example(r#"{"tenant": "acme"}"#),
            row("refresh", Kind::Json, ENDPOINT, "", "how a token is renewed: false, or a request of its own")
                .example("false"),
        ],
    ),
    (
        "Secrets, from a file F, an environment variable V or as the token of another profile P",
        &[
            row("client-id", Kind::Secret, ASKED, "F", "the client identifier, if it is read; it is treated as a secret")
                .example(r#""client-id""#),
            row("client-secret", Kind::Json, PROFILE, "", "an empty text: the client secret is empty").example(r#""""#),
            row("client-secret", Kind::Secret, ASKED, "F", "the client secret").example(r#""client-secret""#),
            row("password", Kind::Secret, ASKED, "F", "the user's password").example(r#""~/password""#),
            row("session-token", Kind::Secret, ASKED, "F", "the long-lived token of a bearer session").example(r#""session-token""#),
            row(
                "refresh-token",
                Kind::OwnSecret,
                ASKED,
                "F",
                "the refresh token; a new one is written back to the file. One from a variable needs the cache, which keeps \
                 the next one",
            )
            .example(r#""/var/lib/meter/refresh-token""#),
            row("subject-token", Kind::Secret, ASKED, "F", "the token to exchange (RFC 8693)").example(r#""subject-token""#),
            row("actor-token", Kind::Secret, ASKED, "F", "the token of whoever acts with it").example(r#""actor-token""#),
            row("access-token", Kind::OwnSecret, ASKED, "F", "for revoke and introspect: the token, if it is not the cached one")
                .example(r#""access-token""#),
            row("param", Kind::SecretPairs('='), ASKED, "K=F", "an extra parameter whose value is a secret; may be repeated")
                .example(r#"{"assertion": "assertion.jwt"}"#),
            row("var", Kind::SecretPairs('='), ASKED, "K=F", "a variable whose value is a secret; may be repeated")
                .example(r#"{"api_key": "api-key"}"#),
            row("header", Kind::SecretPairs(':'), ASKED, "'K: F'", "an extra header whose value is a secret; may be repeated")
                .example(r#"{"X-Api-Key": "api-key"}"#),
        ],
    ),
    (
        "Assertions, which are signed instead of sending a secret (RFC 7523)",
        &[
            row(
                "signing-key",
                Kind::OwnSecret,
                ASKED,
                "F",
                "the key: PEM, DER, a JWK or Google's service-account file, not encrypted",
            )
            .example(r#""key.pem""#),
            row(
                "sign-command",
                Kind::Text,
                ASKED,
                "'CMD ARG …'",
                "what signs instead of a key: it reads the message on standard input and prints the signature, as r and s or \
                 DER. It is split at spaces and run without a shell. Needs --algorithm",
            )
            .example(r#"["tpm2_sign", "-c", "0x81000001", "-g", "sha256", "-f", "plain", "-o", "-"]"#),
            row("algorithm", Kind::Text, ASKED, "A", "ES256, ES384, EdDSA, RS256, PS256 or HS256 (the key's)")
                .example(r#""ES256""#),
            row("key-id", Kind::Text, ASKED, "K", "the key's id in the header (as its file says)").example(r#""2026-11""#),
            row("audience", Kind::Text, ASKED, "A", "the claim aud (the token endpoint's URL): often the server's issuer")
                .example(r#""https://as.example""#),
            row("claim", Kind::Pairs('='), ASKED, "K=V", "a claim: iss, sub, scope; may be repeated. In a profile any JSON value")
                .example(r#"{"sub": "alice@example.com"}"#),
            row("assertion-header", Kind::Pairs('='), ASKED, "K=V", "a member of the header: typ, x5t#S256; may be repeated")
                .example(r#"{"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}"#),
        ],
    ),
    (
        "The answer",
        &[
            row("field", Kind::Text, DESCRIBED, "PATH", "the member that contains the token (data.token)").example(r#""data.token""#),
            row("refused-if", Kind::Json, ENDPOINT, "", "members whose values mean a refusal under a success status")
                .example(r#"{"success": false}"#),
            row("api", Kind::Json, ENDPOINT, "", "the header with the token that the API wants")
                .example(r#""X-Auth-Token: {token}""#),
            row("keep", Kind::Json, ENDPOINT, "", "other members of the answer to keep, by path").example(r#"["instance_url"]"#),
            row("lifetime", Kind::Duration, DESCRIBED, "T", "how long a token lives if the answer does not say, or says 0")
                .example("3600"),
            row("min-valid", Kind::Duration, ASKED, "T", "how long the token must live at least; a shorter one is replaced, and if even a new one is shorter, keyfob fails").example("60"),
            row(
                "format",
                Kind::Text,
                ASKED,
                "F",
                "token (default), header, curl (for `curl -K -`) or json; bench and probe: json, else a table. On an error curl is told \
                 to send nothing, also if a profile cannot be read and might say curl (not at a terminal)",
            )
            .example(r#""header""#),
            row("error-to", Kind::Text, FETCH, "PLACE", "where the error object of --format json goes: stderr (default) or stdout"),
        ],
    ),
    (
        "The connection",
        &[
            row("ca-file", Kind::Path, ASKED, "F", "trust only these certificates (PEM), instead of Mozilla's").example(r#""ca.pem""#),
            row("system-roots", Kind::Flag, ASKED, "", "trust what this system trusts, instead of Mozilla's").example("true"),
            row("client-cert-file", Kind::Credential, ASKED, "F", "the client's certificate (PEM), for a server that asks for one")
                .example(r#""client.pem""#),
            row("client-key", Kind::OwnSecret, ASKED, "F", "its private key (PEM, not encrypted)").example(r#""client-key.pem""#),
            row("proxy", Kind::Text, ASKED, "URL", "use this http or https proxy, whatever the environment says")
                .example(r#""http://proxy.example:3128""#),
            row("no-proxy", Kind::Flag, ASKED, "", "use no proxy, whatever the environment says").example("true"),
            row(
                "connect-to",
                Kind::Text,
                ASKED,
                "HOST:PORT",
                "connect there instead of to the URL's host, which the certificate must still name",
            )
            .example(r#""10.0.0.7:443""#),
            row("timeout", Kind::Duration, ASKED, "T", "the limit for a whole fetch, name look-up included (30)").example("10"),
        ],
    ),
    (
        "The cache, which all processes of one user share",
        &[
            row("no-cache", Kind::Flag, ASKED, "", "neither read nor write it").example("true"),
            row("fresh", Kind::Flag, ASKED, "", "ask the server, whatever is cached or remembered").example("true"),
            row("offline", Kind::Flag, TOKEN | EXEC | HELPER, "", "take what is cached; ask nobody"),
            row("all", Kind::Flag, FORGET, "", "everything in it, of all requests"),
            row(
                "cache-dir",
                Kind::Path,
                ASKED,
                "D",
                "where it is. Default: in memory, in $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR or this user's own directory in \
                 /run, /var/run, /dev/shm or /tmp",
            )
            .example(r#""/run/meter""#),
        ],
    ),
    (
        "When the device boots",
        &[
            row("wait", Kind::Duration, ASKED, "T", "retry for this long while network, names or clock are not ready (0)")
                .example(r#""1m""#),
            row("splay", Kind::Duration, ASKED, "T", "delay the first fetch after boot by up to T, different for each device (0)")
                .example(r#""5m""#),
        ],
    ),
    (
        "keep",
        &[
            row("file", Kind::Path, KEEP | PROFILE, "F", "the file; the token is removed from it before it expires")
                .example(r#""/run/meter/token""#),
            row("mode", Kind::Text, KEEP | PROFILE, "M", "the file's mode (0600)").example(r#""0640""#),
            row(
                "on-renew",
                Kind::Text,
                KEEP | PROFILE,
                "'CMD ARG …'",
                "the command to start after each renewal: split at spaces, run without a shell and without the variables that \
                 contain secrets. SIGHUP renews, unless the server asked for a pause; SIGTERM ends keep",
            )
            .example(r#"["systemctl", "reload", "meter"]"#),
        ],
    ),
    (
        "exec: where the program finds the token (default: in a file, whose path is in $KEYFOB_TOKEN_FILE)",
        &[
            row("env", Kind::Text, EXEC, "NAME", "in this environment variable, which keeps it when it has expired"),
            row("fd", Kind::Number, EXEC, "N", "in a pipe on file descriptor N (3 or more)"),
            row("stdin", Kind::Flag, EXEC, "", "on standard input"),
            row(
                "at-end",
                Kind::Text,
                EXEC,
                "ACTION",
                "what happens when the token is about to expire and there is no newer one: keep (nothing; default), stop \
                 (SIGTERM, and SIGKILL 10 s later) or 'signal NAME' (as 'signal HUP')",
            ),
        ],
    ),
    (
        "bench",
        &[
            row(
                "count",
                Kind::Number,
                BENCH,
                "N",
                "how many fetches (10, at most 1000), each with a new connection and without the cache",
            )
            .short('n'),
            row("pause", Kind::Duration, BENCH, "T", "the pause between fetches (0.2)"),
            row("max-median", Kind::Number, BENCH, "MS", "exit with 8 if the median of the whole fetch is above MS milliseconds"),
            row("max-p90", Kind::Number, BENCH, "MS", "exit with 8 if nine in ten fetches do not stay within MS milliseconds"),
            row("max-bytes", Kind::Number, BENCH, "N", "exit with 8 if a fetch sends and receives more than N bytes"),
            row("processes", Kind::Flag, BENCH, "", "start a process for each fetch, so that exec and dynamic linking count"),
            // A single fetch, timed for the parent process.
            row("single", Kind::Flag, BENCH | HIDDEN, "", ""),
        ],
    ),
    (
        "parse",
        &[
            row("status", Kind::Number, PARSE, "N", "the HTTP status of the answer (200)"),
            row("content-type", Kind::Text, PARSE, "T", "its Content-Type (absent)"),
            row("show-secrets", Kind::Flag, PARSE, "", "print tokens"),
        ],
    ),
    (
        "from-curl",
        &[row(
            "name",
            Kind::Text,
            FROM_CURL,
            "NAME",
            "the profile's name, or its path if it has a slash (the host's name)",
        )],
    ),
    (
        "Messages",
        &[row(
            "verbose",
            Kind::Flag,
            ASKED,
            "",
            "log to standard error: each request, its status and time, the token's life, the next attempt",
        )
        .short('v')
        .example("true")],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_there_once() {
        let mut names: Vec<String> = rows().flat_map(Row::names).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn each_row_has_a_help_and_each_member_an_example() {
        for row in rows().filter(|row| !row.is_hidden()) {
            assert!(!row.help.is_empty(), "{}", row.name);
            assert_eq!(row.is_member(), !row.example.is_empty(), "{}", row.name);
            let value: Result<miniserde::json::Value, _> = miniserde::json::from_str(row.example);
            assert!(!row.is_member() || value.is_ok(), "{}: {}", row.name, row.example);
        }
    }

    #[test]
    fn members_have_underscores_and_options_hyphens() {
        assert!(option(Verb::Token, "client-secret-file").is_some() && member("client_secret_file").is_some());
        assert!(option(Verb::Token, "client_secret_file").is_none() && member("client-secret-file").is_none());
        assert!(option(Verb::Token, "client-secret").is_none() && option(Verb::Token, "omit-grant-type").is_none());
        assert!(option(Verb::Token, "mode").is_none() && option(Verb::Keep, "mode").is_some());
        assert!(member("count").is_none() && member("omit_grant_type").is_some());
    }
}
