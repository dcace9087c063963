//! The profiles in src/docs/recipes.md send what their services document, and read the answers that these document.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]

mod common;
#[path = "common/comparing.rs"]
mod comparing;
#[path = "common/command.rs"]
mod running;

use common::Server;
use comparing::{bytes, shown, token, token_and_lifetime};
use running::Place;
use std::sync::atomic::{AtomicUsize, Ordering};

const PAGE: &str = include_str!("../src/docs/recipes.md");

struct Recipe {
    /// The heading of its section, and the number of the profile there.
    heading: &'static str,
    number: usize,
    /// The secret's file, as the profile names it.
    file: &'static str,
    sends: &'static [&'static str],
    answer: &'static str,
    /// Token, lifetime and the header for the API.
    gets: (&'static str, &'static str),
    /// The request that renews the token.
    renews: &'static [&'static str],
}

const SECRET: &str = "hunter2-secret";

const RECIPES: &[Recipe] = &[
    Recipe {
        heading: "### OpenStack Keystone",
        number: 0,
        file: "keystone-password",
        sends: &[
            "POST keystone.example:5000/v3/auth/tokens json",
            r#">{"auth":{"identity":{"methods":["password"],"password":{"user":{"domain":{"id":"default"},"name":"robot","password":"hunter2-secret"}}},"scope":{"project":{"domain":{"id":"default"},"name":"demo"}}}}"#,
        ],
        answer: "201\nDate: Wed, 04 Mar 2026 12:00:00 GMT\nX-Subject-Token: gAAAAABpqB\n\n\
                 {\"token\":{\"methods\":[\"password\"],\"expires_at\":\"2026-03-04T13:00:00.000000Z\",\
                 \"issued_at\":\"2026-03-04T12:00:00.000000Z\",\"project\":{\"name\":\"demo\"}}}",
        gets: ("gAAAAABpqB 3599", "X-Auth-Token: gAAAAABpqB"),
        renews: &[],
    },
    Recipe {
        heading: "### Instagram",
        number: 0,
        file: "instagram-token",
        sends: &[
            "GET graph.instagram.com/refresh_access_token?access_token=hunter2-secret&grant_type=ig_refresh_token",
        ],
        answer: r#"{"access_token":"IGQVJnext","token_type":"bearer","expires_in":5183944}"#,
        gets: ("IGQVJnext 5183944", "Authorization: Bearer IGQVJnext"),
        renews: &["GET graph.instagram.com/refresh_access_token?access_token=IGQVJnext&grant_type=ig_refresh_token"],
    },
    Recipe {
        heading: "### GitHub App",
        number: 0,
        file: "github-app-jwt",
        sends: &[
            "POST api.github.com/app/installations/12345678/access_tokens json",
            "accept: application/vnd.github+json",
            "authorization: Bearer hunter2-secret",
            "x-github-api-version: 2022-11-28",
            r#">{"repositories":["website"]}"#,
        ],
        answer: "201\nDate: Wed, 04 Mar 2026 12:00:00 GMT\n\n\
                 {\"token\":\"ghs_16C7e42F\",\"expires_at\":\"2026-03-04T13:00:00Z\",\"permissions\":{\"contents\":\"read\"}}",
        gets: ("ghs_16C7e42F 3599", "Authorization: Bearer ghs_16C7e42F"),
        renews: &[],
    },
    Recipe {
        heading: "### Vault",
        number: 0,
        file: "vault-secret-id",
        sends: &[
            "POST vault.example:8200/v1/auth/approle/login json",
            r#">{"role_id":"0a1b2c3d-role","secret_id":"hunter2-secret"}"#,
        ],
        answer: VAULT,
        gets: ("hvs.CAESIJ 2764800", "X-Vault-Token: hvs.CAESIJ"),
        renews: &[],
    },
    Recipe {
        heading: "### Vault",
        number: 1,
        file: "/var/run/secrets/kubernetes.io/serviceaccount/token",
        sends: &["POST vault.example:8200/v1/auth/kubernetes/login json", r#">{"jwt":"hunter2-secret","role":"web"}"#],
        answer: VAULT,
        gets: ("hvs.CAESIJ 2764800", "X-Vault-Token: hvs.CAESIJ"),
        renews: &["POST vault.example:8200/v1/auth/token/renew-self json", "x-vault-token: hvs.CAESIJ", ">{}"],
    },
    Recipe {
        heading: "### Azure's metadata service",
        number: 0,
        file: "",
        sends: &[
            "GET 169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net",
            "metadata: true",
        ],
        answer: r#"{"access_token":"eyJ0.e30.c2ln","client_id":"c","expires_in":"86399","expires_on":"1772712000","ext_expires_in":"86399","not_before":"1772625300","resource":"https://vault.azure.net","token_type":"Bearer"}"#,
        gets: ("eyJ0.e30.c2ln 86399", "Authorization: Bearer eyJ0.e30.c2ln"),
        renews: &[],
    },
    Recipe {
        heading: "### Google's metadata service",
        number: 0,
        file: "",
        sends: &[
            "GET metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token",
            "metadata-flavor: Google",
        ],
        answer: r#"{"access_token":"ya29.c.Ab0","expires_in":3599,"token_type":"Bearer"}"#,
        gets: ("ya29.c.Ab0 3599", "Authorization: Bearer ya29.c.Ab0"),
        renews: &[],
    },
];

/// As Vault answers both logins.
const VAULT: &str = r#"{"request_id":"1","lease_id":"","renewable":false,"lease_duration":0,"data":null,"warnings":null,"auth":{"client_token":"hvs.CAESIJ","accessor":"a","policies":["default"],"lease_duration":2764800,"renewable":true}}"#;

/// Returns a profile of the page, with plain http for https.
fn profile(recipe: &Recipe) -> String {
    let section = PAGE.split(&format!("{}\n", recipe.heading)).nth(1).unwrap_or_else(|| panic!("{}", recipe.heading));
    let section = section.split("\n##").next().unwrap();
    let block = section.split("```json\n").nth(recipe.number + 1).unwrap_or_else(|| panic!("{}", recipe.heading));
    block.split("```").next().unwrap().replace("\"url\": \"https:", "\"url\": \"http:")
}

#[test]
fn each_recipe_sends_and_reads_what_its_service_documents() {
    for recipe in RECIPES {
        let place = Place::new();
        place.file("here/its-secret", SECRET);
        let profile = profile(recipe);
        assert!(profile.contains(&format!("\"{}\"", recipe.file)) || recipe.file.is_empty(), "{profile}");
        place.file("here/p.json", profile.replace(&format!("\"{}\"", recipe.file), "\"its-secret\""));
        let server = Server::answering(bytes(recipe.answer));

        let outcome = token(&place, &server, &["--format", "json"]);
        assert_eq!(token_and_lifetime(&outcome, recipe.gets.0), recipe.gets.0, "{profile}");
        token(&place, &server, &["--format", "header"]).prints(recipe.gets.1);
        // The second one came from the cache.
        assert_eq!(shown(&server.request()), recipe.sends);

        token(&place, &server, &["--fresh", "--format", "header"]).prints(recipe.gets.1);
        let expected = if recipe.renews.is_empty() { recipe.sends } else { recipe.renews };
        assert_eq!(shown(&server.requests()[1]), expected);
    }
}

#[test]
fn each_profile_of_the_section_is_tested() {
    let section = PAGE.split("## Profiles of well-known services").nth(1).unwrap().split("\n## ").next().unwrap();
    assert_eq!(section.matches("```json\n").count(), RECIPES.len());
    let section = PAGE.split("## Federated identities").nth(1).unwrap().split("\n## ").next().unwrap();
    // Two to Google, and that of GitHub Actions, have tests of their own.
    assert_eq!(section.matches("```json\n").count(), FEDERATED.len() + 3);
}

/// Vault ends the token's renewal at its longest lifetime: the next token comes from a login.
#[test]
fn a_renewal_that_is_refused_is_followed_by_a_login() {
    let recipe = RECIPES.iter().find(|recipe| recipe.heading == "### Vault" && !recipe.renews.is_empty()).unwrap();
    let place = Place::new();
    place.file("here/its-secret", SECRET);
    place.file("here/p.json", profile(recipe).replace(recipe.file, "its-secret"));
    let count = AtomicUsize::new(0);
    let server = Server::with(move |_, stream| {
        let answer = match count.fetch_add(1, Ordering::Relaxed) {
            1 => "403\n\n{\"errors\":[\"permission denied\"]}",
            _ => VAULT,
        };
        let _ = stream.write_all(&bytes(answer));
    });
    token(&place, &server, &[]).prints("hvs.CAESIJ");
    token(&place, &server, &["--fresh"]).prints("hvs.CAESIJ");
    let requests: Vec<_> = server.requests().iter().map(shown).collect();
    assert_eq!(requests, [recipe.sends, recipe.renews, recipe.sends]);
}

/// A profile of the federated identities: its section, the platform's file, what is sent, and what comes of it.
struct Federated {
    heading: &'static str,
    file: &'static str,
    sends: &'static [&'static str],
    answer: &'static str,
    gets: &'static str,
}

const FEDERATED: &[Federated] = &[
    Federated {
        heading: "### Kubernetes to Entra ID",
        file: "/var/run/secrets/azure/tokens/azure-identity-token",
        sends: &[
            "POST login.microsoftonline.com/contoso.example/oauth2/v2.0/token form",
            ">grant_type=client_credentials&client_id=11111111-2222-3333-4444-555555555555&scope=https%3A%2F%2Fvault.azure.net%2F.default&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=PLATFORM",
        ],
        answer: r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"entra"}"#,
        gets: "entra",
    },
    Federated {
        heading: "### SPIFFE JWT-SVID",
        file: "/run/spiffe/jwt_svid.token",
        sends: &[
            "POST as.example/token form",
            ">grant_type=client_credentials&client_id=spiffe%3A%2F%2Fexample.org%2Fweb&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-spiffe&client_assertion=PLATFORM",
        ],
        answer: r#"{"access_token":"workload","token_type":"Bearer","expires_in":300}"#,
        gets: "workload",
    },
    Federated {
        heading: "### Kubernetes to Vault, by JWT",
        file: "/var/run/secrets/tokens/vault-token",
        sends: &["POST vault.example:8200/v1/auth/jwt/login json", r#">{"jwt":"PLATFORM","role":"web"}"#],
        answer: VAULT,
        gets: "hvs.CAESIJ",
    },
];

/// Returns the profiles of a section, with plain http and this server for all hosts.
fn profiles(heading: &str, server: &Server) -> Vec<String> {
    let section = PAGE.split(&format!("{heading}\n")).nth(1).unwrap().split("\n##").next().unwrap();
    let start = format!("{{\"allow_http\": true, \"connect_to\": \"{}\", \"url\": \"http:", server.address());
    let blocks = section.split("```json\n").skip(1).map(|block| block.split("```").next().unwrap());
    blocks.map(|block| block.replace("{\n    \"url\": \"https:", &start)).collect()
}

#[test]
fn a_platforms_token_is_read_for_each_request() {
    for row in FEDERATED {
        let place = Place::new();
        let server = Server::answering(bytes(row.answer));
        let profile = profiles(row.heading, &server).remove(0);
        assert!(profile.contains(row.file), "{profile}");
        place.file("here/p.json", profile.replace(row.file, "platform"));
        for platform in ["first.e30.c2ln", "second.e30.c2ln"] {
            place.file("here/platform", format!("{platform}\n"));
            place.keyfob(["token", "./p.json", "--fresh"]).outcome().prints(row.gets);
            let expected: Vec<_> = row.sends.iter().map(|line| line.replace("PLATFORM", platform)).collect();
            assert_eq!(shown(server.requests().last().unwrap()), expected);
        }
    }
}

#[test]
fn google_exchanges_the_platforms_token_and_then_that_of_the_service_account() {
    let place = Place::new();
    let server = Server::with(|request, stream| {
        let answer = if request.target == "/v1/token" {
            r#"{"access_token":"federated","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3599}"#
        } else {
            "200\nDate: Wed, 04 Mar 2026 12:00:00 GMT\n\n{\"accessToken\":\"account\",\"expireTime\":\"2026-03-04T13:00:00Z\"}"
        };
        let _ = stream.write_all(&bytes(answer));
    });
    let profiles = profiles("### Kubernetes to Google", &server);
    place.file("here/google-sts.json", profiles[0].replace("/var/run/service-account/token", "platform"));
    place.file("here/p.json", &profiles[1]);
    for (number, platform) in ["first.e30.c2ln", "second.e30.c2ln"].iter().enumerate() {
        place.file("here/platform", platform);
        let outcome = place.keyfob(["token", "./p.json", "--fresh", "--format", "json"]).outcome();
        assert_eq!(token_and_lifetime(&outcome, "account 3599"), "account 3599");
        let exchange = format!(
            ">grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&scope=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform&audience=%2F%2Fiam.googleapis.com%2Fprojects%2F123456%2Flocations%2Fglobal%2FworkloadIdentityPools%2Fpool%2Fproviders%2Fk8s&requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&subject_token={platform}"
        );
        let requests: Vec<_> = server.requests()[2 * number..].iter().map(shown).collect();
        assert_eq!(requests[0], ["POST sts.googleapis.com/v1/token form", &exchange]);
        assert_eq!(
            requests[1],
            [
                "POST iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/web%40project.iam.gserviceaccount.com:generateAccessToken json",
                "authorization: Bearer federated",
                r#">{"lifetime":"3600s","scope":["https://www.googleapis.com/auth/cloud-platform"]}"#,
            ]
        );
    }
}

#[test]
fn github_actions_gives_a_job_its_identity() {
    let place = Place::new();
    let server = Server::answering(bytes(r#"{"count":1,"value":"eyJ0.e30.c2ln"}"#));
    place.file("here/p.json", profiles("### GitHub Actions", &server).remove(0));
    let url = "http://pipelines.example/job/idtoken?api-version=2.0";
    let run = place.keyfob(["token", "./p.json", "--url", url]);
    run.variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN", SECRET).outcome().prints("eyJ0.e30.c2ln");
    assert_eq!(
        shown(&server.request()),
        [
            "GET pipelines.example/job/idtoken?api-version=2.0&audience=https%3A%2F%2Fas.example",
            "authorization: Bearer hunter2-secret",
        ]
    );
}

/// RFC 8693 section 2.2.1: the server may issue another type than the requested one, and what is no access token has the
/// `token_type` `N_A`.
#[test]
fn an_exchange_that_yields_another_type_of_token_is_refused() {
    let other = "keyfob: the server refused (status 200: `issued_token_type` is not \
                 urn:ietf:params:oauth:token-type:access_token) and did not say why";
    let not_bearer = "keyfob: a token of type \"N_A\" cannot be sent as a bearer token\n\
                      hint: such a token needs more than a header; ask whoever runs the server for a bearer token";
    for (issued, kind, fault) in [
        ("access_token", "Bearer", None),
        ("access_token", "N_A", Some((5, not_bearer))),
        ("id_token", "Bearer", Some((3, other))),
        ("id_token", "N_A", Some((3, other))),
    ] {
        let place = Place::new();
        let server = Server::answering(bytes(&format!(
            r#"{{"access_token":"federated","issued_token_type":"urn:ietf:params:oauth:token-type:{issued}","token_type":"{kind}","expires_in":3599}}"#
        )));
        let profile = profiles("### Kubernetes to Google", &server).remove(0);
        place.file("here/p.json", profile.replace("/var/run/service-account/token", "platform"));
        place.file("here/platform", "first.e30.c2ln");
        let outcome = place.keyfob(["token", "./p.json", "--format", "header"]).outcome();
        let Some((code, lines)) = fault else {
            outcome.prints("Authorization: Bearer federated");
            let outcome = place.keyfob(["token", "./p.json", "--format", "json"]).outcome();
            let members = r#""members":{"issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}"#;
            assert!(outcome.stdout.contains(members), "{outcome:?}");
            continue;
        };
        outcome.fails(code, lines);
    }
}
