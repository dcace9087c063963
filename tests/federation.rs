//! The profiles in src/docs/federation.md send what their services document, and read their files for each request.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]

mod common;
#[path = "common/comparing.rs"]
mod comparing;
#[path = "common/command.rs"]
mod running;

use common::{Seen, Server, Stream};
use comparing::{bytes, shown, token_and_lifetime};
use running::Place;

const PAGE: &str = include_str!("../src/docs/federation.md");

struct Row {
    heading: &'static str,
    /// The profiles of the section: a name for each. The last one is asked.
    profiles: &'static [&'static str],
    /// The file or the variable of the platform's token, as the profile names it.
    platform: &'static str,
    /// Each request, where `TOKEN` is the platform's token, and its answer.
    exchanges: &'static [(&'static [&'static str], &'static str)],
    /// Token, lifetime and the header for the API.
    gets: (&'static str, &'static str),
}

const ENTRA: &str = r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"eyJ0.e30.en"}"#;

const ROWS: &[Row] = &[
    Row {
        heading: "Kubernetes to Entra ID",
        profiles: &["entra"],
        platform: "/var/run/secrets/azure/tokens/azure-identity-token",
        exchanges: &[(
            &[
                "POST login.microsoftonline.com/00000000-0000-4000-8000-000000000001/oauth2/v2.0/token form",
                ">grant_type=client_credentials&client_id=00000000-0000-4000-8000-000000000002\
                 &scope=https%3A%2F%2Fvault.azure.net%2F.default\
                 &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
                 &client_assertion=TOKEN",
            ],
            ENTRA,
        )],
        gets: ("eyJ0.e30.en 3599", "Authorization: Bearer eyJ0.e30.en"),
    },
    Row {
        heading: "Kubernetes to Google",
        profiles: &["google-sts", "account"],
        platform: "/var/run/secrets/tokens/google",
        exchanges: &[
            (
                &[
                    "POST sts.googleapis.com/v1/token form",
                    ">grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
                     &scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform\
                     &audience=%2F%2Fiam.googleapis.com%2Fprojects%2F123456789012%2Flocations%2Fglobal%2F\
                     workloadIdentityPools%2Fpool%2Fproviders%2Fk8s\
                     &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
                     &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&subject_token=TOKEN",
                ],
                r#"{"access_token":"ya29.d.federated","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3599}"#,
            ),
            (
                &[
                    "POST iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/meter%40project.iam.gserviceaccount.com:generateAccessToken json",
                    "authorization: Bearer ya29.d.federated",
                    r#">{"lifetime":"3600s","scope":["https://www.googleapis.com/auth/cloud-platform"]}"#,
                ],
                "200\nDate: Wed, 04 Mar 2026 12:00:00 GMT\n\n\
                 {\"accessToken\":\"ya29.c.account\",\"expireTime\":\"2026-03-04T13:00:00Z\"}",
            ),
        ],
        gets: ("ya29.c.account 3599", "Authorization: Bearer ya29.c.account"),
    },
    Row {
        heading: "Kubernetes to Vault",
        profiles: &["vault"],
        platform: "/var/run/secrets/tokens/vault",
        exchanges: &[(
            &["POST vault.example:8200/v1/auth/jwt/login json", r#">{"role":"web","jwt":"TOKEN"}"#],
            r#"{"lease_id":"","lease_duration":0,"data":null,"auth":{"client_token":"hvs.CAESIJ","policies":["web"],"lease_duration":3600,"renewable":true}}"#,
        )],
        gets: ("hvs.CAESIJ 3600", "X-Vault-Token: hvs.CAESIJ"),
    },
    Row {
        heading: "GitHub Actions",
        profiles: &["github"],
        platform: "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        exchanges: &[(
            &[
                "GET token.actions.githubusercontent.com/?audience=https%3A%2F%2Fiam.googleapis.com%2Fpool",
                "authorization: bearer TOKEN",
            ],
            "200\nDate: Wed, 04 Mar 2026 12:00:00 GMT\n\n\
             {\"count\":1,\"value\":\"eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjE3NzI2MjYyMDB9.c2ln\"}",
        )],
        gets: (
            "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjE3NzI2MjYyMDB9.c2ln 599",
            "Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjE3NzI2MjYyMDB9.c2ln",
        ),
    },
    Row {
        heading: "SPIFFE",
        profiles: &["spiffe"],
        platform: "/run/spiffe/jwt-svid",
        exchanges: &[(
            &[
                "POST as.example/token form",
                ">grant_type=client_credentials\
                 &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-spiffe\
                 &client_assertion=TOKEN",
            ],
            r#"{"access_token":"opaque","token_type":"Bearer","expires_in":300}"#,
        )],
        gets: ("opaque 300", "Authorization: Bearer opaque"),
    },
    Row {
        heading: "From a metadata service",
        profiles: &["google-identity", "entra"],
        platform: "",
        exchanges: &[
            (
                &[
                    "GET metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/identity?audience=api%3A%2F%2FAzureADTokenExchange",
                    "metadata-flavor: Google",
                ],
                "200\nContent-Type: text/html\n\neyJhbGciOiJSUzI1NiJ9.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln",
            ),
            (
                &[
                    "POST login.microsoftonline.com/00000000-0000-4000-8000-000000000001/oauth2/v2.0/token form",
                    ">grant_type=client_credentials&client_id=00000000-0000-4000-8000-000000000002\
                 &scope=https%3A%2F%2Fvault.azure.net%2F.default\
                     &client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
                     &client_assertion=eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjQxMDI0NDQ4MDB9.c2ln",
                ],
                ENTRA,
            ),
        ],
        gets: ("eyJ0.e30.en 3599", "Authorization: Bearer eyJ0.e30.en"),
    },
];

/// Answers the request whose first line a row has.
fn serve(row: &'static Row) -> Server {
    Server::with(move |seen: &Seen, stream: &mut dyn Stream| {
        let first = &shown(seen)[0];
        let known = row.exchanges.iter().find(|(lines, _)| lines[0] == first);
        let _ = stream.write_all(&bytes(known.map_or("404\n\n{}", |(_, answer)| answer)));
    })
}

/// Writes the profiles of the section, with plain http to the server for https to their hosts.
fn write_profiles(row: &Row, place: &Place, server: &Server) {
    let section = PAGE.split(&format!("## {}\n", row.heading)).nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks: Vec<_> = section.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), row.profiles.len(), "{}", row.heading);
    assert!(section.contains(&format!("\"{}\"", row.platform)), "{}", row.heading);
    for (name, block) in row.profiles.iter().zip(blocks) {
        let more = format!("{{\"allow_http\": true, \"connect_to\": \"{}\",", server.address());
        let text = block.replacen('{', &more, 1).replace("\"url\": \"https:", "\"url\": \"http:");
        let text = match row.platform {
            path if path.starts_with('/') => text.replace(path, &place.path("here/platform")),
            _ => text,
        };
        place.file(&format!("config/keyfob/{name}.json"), text);
    }
}

#[test]
fn each_profile_sends_and_reads_what_its_services_document() {
    for row in ROWS {
        let place = Place::new();
        let server = serve(row);
        write_profiles(row, &place, &server);
        let run = |platform: &str, options: &[&str]| {
            place.file("here/platform", format!("{platform}\n"));
            let run = place.keyfob([&["token", row.profiles.last().unwrap()], options].concat());
            let run = if row.platform.starts_with("ACTIONS") { run.variable(row.platform, platform) } else { run };
            run.outcome()
        };
        let requests = |platform: &str| -> Vec<Vec<String>> {
            row.exchanges
                .iter()
                .map(|(lines, _)| lines.iter().map(|l| l.replace("TOKEN", platform)).collect())
                .collect()
        };
        let outcome = run("hunter2-first", &["--format", "json"]);
        assert_eq!(token_and_lifetime(&outcome, row.gets.0), row.gets.0, "{}: {outcome:?}", row.heading);
        // From the cache.
        run("hunter2-first", &["--format", "header"]).prints(row.gets.1);
        let seen = |from: usize| -> Vec<Vec<String>> { server.requests()[from..].iter().map(shown).collect() };
        assert_eq!(seen(0), requests("hunter2-first"), "{}", row.heading);
        // The platform has another token now.
        let fresh: &[&str] = if row.platform.is_empty() { &["--fresh"] } else { &[] };
        run("hunter2-second", &[&["--format", "header"], fresh].concat()).prints(row.gets.1);
        assert_eq!(seen(row.exchanges.len()), requests("hunter2-second"), "{}", row.heading);
    }
}

/// The two commands of the job: the ID token goes through a pipe to the exchange.
#[test]
fn the_job_exchanges_its_id_token() {
    let place = Place::new();
    let [github, google] = [&ROWS[3], &ROWS[1]].map(|row| (serve(row), row));
    for (server, row) in [&github, &google] {
        write_profiles(row, &place, server);
    }
    let url = "http://pipelines.actions.githubusercontent.com/a1/idtoken?api-version=2.0";
    let answering = Server::answering(bytes(github.1.exchanges[0].1));
    let to = answering.address().to_string();
    let run = place.keyfob(["token", "github", "--url", url, "--no-cache", "--connect-to", &to]);
    let id_token = run.variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "hunter2-job").outcome().stdout;
    let audience = "&audience=https%3A%2F%2Fiam.googleapis.com%2Fpool";
    let line = format!("GET {}{audience}", url.strip_prefix("http://").unwrap());
    assert_eq!(shown(&answering.request()), [&line, "authorization: bearer hunter2-job"]);
    let run = place.keyfob(["token", "google-sts", "--subject-token-file", "-"]).input(id_token.clone());
    run.outcome().prints("ya29.d.federated");
    let sent = google.0.request().body_text();
    assert!(sent.ends_with(&format!("&subject_token={}", id_token.trim())), "{sent}");
}

#[test]
fn a_missing_or_empty_file_is_an_error_and_nothing_is_sent() {
    let place = Place::new();
    let server = serve(&ROWS[0]);
    write_profiles(&ROWS[0], &place, &server);
    let path = place.path("here/platform");
    for message in ["no such file", "empty"] {
        let outcome = place.keyfob(["token", "entra"]).outcome();
        assert!(outcome.code == Some(2) && outcome.stderr.contains(message), "{outcome:?}");
        assert!(outcome.stderr.contains(&path), "{outcome:?}");
        place.file("here/platform", "\n");
    }
    assert_eq!(server.requests(), []);
}

#[test]
fn each_profile_of_the_page_is_tested() {
    assert_eq!(PAGE.matches("```json\n").count(), ROWS.iter().map(|row| row.profiles.len()).sum());
}
