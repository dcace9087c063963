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
