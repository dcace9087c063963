//! Token services of every kind, each as a profile: the command sends what the service documents, byte for byte, reads token
//! and lifetime, and prints the header that the API wants.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(unreachable_pub, reason = "the helpers are modules of each test that uses them")]

mod common;
#[path = "common/comparing.rs"]
mod comparing;
#[path = "common/command.rs"]
mod running;

use common::{Server, answer, json};
use comparing::{bytes, shown, token, token_and_lifetime};
use running::Place;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Service {
    /// The members of the profile. Its secrets are `hunter2&=+ é` (file `secret`), `hunter2 "p"` (`password`) and
    /// `hunter2-key` (`key`).
    profile: &'static str,
    /// The request: method and URL without its scheme, with `form` or `json` for the usual content type; then the headers
    /// that not every request has, and the body after a `>`.
    sends: &'static [&'static str],
    /// A JSON body under status 200, or status, headers, an empty line and a body.
    answer: &'static str,
    /// The token, its lifetime in seconds and the header for the API, where that is no `Authorization: Bearer`. Or the
    /// exit code with the message.
    gets: &'static str,
}

const fn service(
    profile: &'static str,
    sends: &'static [&'static str],
    answer: &'static str,
    gets: &'static str,
) -> Service {
    Service { profile, sends, answer, gets }
}

const PLAIN: &str = r#"{"access_token":"tok-1","token_type":"Bearer","expires_in":3600}"#;

/// The client's credentials in a form, as RFC 6749 and most services have it.
const ORDINARY: &[Service] = &[
    service(
        r#""url": "http://as.example/oauth2/token", "client_id": "my client", "client_secret_file": "secret""#,
        &[
            "POST as.example/oauth2/token form",
            "authorization: Basic bXkrY2xpZW50Omh1bnRlcjIlMjYlM0QlMkIrJUMzJUE5",
            ">grant_type=client_credentials",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // Servers that do not decode what Basic holds.
    service(
        r#""url": "http://as.example/t", "basic_raw": true, "client_id": "my client", "client_secret_file": "secret""#,
        &[
            "POST as.example/t form",
            "authorization: Basic bXkgY2xpZW50Omh1bnRlcjImPSsgw6k=",
            ">grant_type=client_credentials",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    service(
        r#""url": "http://as.example/t", "client_id": "id", "client_secret_file": "key", "scope": ["read", "write"]"#,
        &[
            "POST as.example/t form",
            "authorization: Basic aWQ6aHVudGVyMi1rZXk=",
            ">grant_type=client_credentials&scope=read+write",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // Scopes with commas.
    service(
        r#""url": "http://as.example/t", "client_id": "id", "client_secret_file": "key", "scope": "data,user""#,
        &[
            "POST as.example/t form",
            "authorization: Basic aWQ6aHVudGVyMi1rZXk=",
            ">grant_type=client_credentials&scope=data%2Cuser",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    service(
        r#""url": "http://as.example/connect/token", "auth": "client_secret_post", "client_id": "id",
           "client_secret_file": "secret""#,
        &[
            "POST as.example/connect/token form",
            ">grant_type=client_credentials&client_id=id&client_secret=hunter2%26%3D%2B+%C3%A9",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    service(
        r#""url": "http://as.example/t", "auth": "client_secret_post", "client_id": "id", "client_secret_file": "key",
           "param": {"audience": "https://api.example/", "resource": ["urn:a", "urn:b"]}"#,
        &[
            "POST as.example/t form",
            ">grant_type=client_credentials&client_id=id&client_secret=hunter2-key\
             &audience=https%3A%2F%2Fapi.example%2F&resource=urn%3Aa&resource=urn%3Ab",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // Without a grant type, as Looker and Tailscale have it.
    service(
        r#""url": "http://as.example/api/4.0/login", "omit_grant_type": true, "auth": "client_secret_post",
           "client_id": "id", "client_secret_file": "key""#,
        &["POST as.example/api/4.0/login form", ">client_id=id&client_secret=hunter2-key"],
        PLAIN,
        "tok-1 3600",
    ),
    // A parameter beside the credentials, as Sage Intacct has it.
    service(
        r#""url": "http://as.example/t", "auth": "client_secret_post", "client_id": "id", "client_secret_file": "key",
           "param": {"username": "u@c"}, "param_file": {"session_id": "secret"}"#,
        &[
            "POST as.example/t form",
            ">grant_type=client_credentials&client_id=id&client_secret=hunter2-key&username=u%40c\
             &session_id=hunter2%26%3D%2B+%C3%A9",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // Parameters in the query of a POST.
    service(
        r#""url": "http://as.example/t", "params": "query", "auth": "client_secret_basic", "client_id": "id",
           "client_secret_file": "key""#,
        &["POST as.example/t?grant_type=client_credentials", "authorization: Basic aWQ6aHVudGVyMi1rZXk="],
        PLAIN,
        "tok-1 3600",
    ),
    // The grant in the URL, and an API key beside Basic.
    service(
        r#""url": "http://as.example/t?grant_type=client_credentials", "omit_grant_type": true,
           "header": {"Authorization": "Basic {base64:{user}:{key}}", "X-Api-Key": "{api_key}"},
           "var": {"user": "u"}, "var_file": {"key": "secret", "api_key": "key"}"#,
        &[
            "POST as.example/t?grant_type=client_credentials form",
            "authorization: Basic dTpodW50ZXIyJj0rIMOp",
            "x-api-key: hunter2-key",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // A word of the service's own as the grant.
    service(
        r#""url": "http://as.example/t", "grant": "openapi_2lo", "client_id": "id", "client_secret_file": "key""#,
        &["POST as.example/t form", "authorization: Basic aWQ6aHVudGVyMi1rZXk=", ">grant_type=openapi_2lo"],
        PLAIN,
        "tok-1 3600",
    ),
    // As Zoom has it.
    service(
        r#""url": "http://as.example/t", "grant": "account_credentials", "client_id": "id",
           "client_secret_file": "key", "param": {"account_id": "7"}"#,
        &[
            "POST as.example/t form",
            "authorization: Basic aWQ6aHVudGVyMi1rZXk=",
            ">grant_type=account_credentials&account_id=7",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // RFC 7523 section 2.1, with an assertion that another program has signed.
    service(
        r#""url": "http://as.example/t", "grant": "urn:ietf:params:oauth:grant-type:jwt-bearer",
           "param_file": {"assertion": "key"}"#,
        &[
            "POST as.example/t form",
            ">grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=hunter2-key",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // RFC 7523 section 2.2, likewise.
    service(
        r#""url": "http://as.example/{tenant}/oauth2/token", "var": {"tenant": "t-1"}, "client_id": "id",
           "param": {"resource": "https://{tenant}.sites.example",
                     "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
           "param_file": {"client_assertion": "key"}"#,
        &[
            "POST as.example/t-1/oauth2/token form",
            ">grant_type=client_credentials&client_id=id&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3A\
             client-assertion-type%3Ajwt-bearer&resource=https%3A%2F%2Ft-1.sites.example&client_assertion=hunter2-key",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // RFC 8693.
    service(
        r#""url": "http://sts.example/v1/token", "grant": "urn:ietf:params:oauth:grant-type:token-exchange",
           "param": {"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"},
           "param_file": {"subject_token": "key"}"#,
        &[
            "POST sts.example/v1/token form",
            ">grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
             &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&subject_token=hunter2-key",
        ],
        r#"{"access_token":"tok-1","issued_token_type":"urn:x","token_type":"Bearer","expires_in":"3600",}"#,
        "tok-1 3600",
    ),
    // A form as the answer, as GitHub sends it.
    service(
        r#""url": "http://as.example/t", "client_id": "id", "client_secret_file": "key""#,
        &["POST as.example/t form", "authorization: Basic aWQ6aHVudGVyMi1rZXk=", ">grant_type=client_credentials"],
        "200\nContent-Type: application/x-www-form-urlencoded\n\naccess_token=tok%2D1&expires_in=60&token_type=bearer",
        "tok-1 60",
    ),
    // A refresh token as all that there is, as Workday has it; the lifetime is not in the answer.
    service(
        r#""url": "http://as.example/t", "grant": "refresh_token", "refresh_token_file": "key", "lifetime": "1h",
           "client_id": "id", "client_secret_file": "secret", "basic_raw": true"#,
        &[
            "POST as.example/t form",
            "authorization: Basic aWQ6aHVudGVyMiY9KyDDqQ==",
            ">grant_type=refresh_token&refresh_token=hunter2-key",
        ],
        r#"{"access_token":"tok-1"}"#,
        "tok-1 3600",
    ),
    // Headers that replace those of keyfob.
    service(
        r#""url": "http://as.example/t", "client_id": "id", "client_secret_file": "key",
           "header": {"User-Agent": "curl/8.5", "Accept": "*/*",
                      "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}"#,
        &[
            "POST as.example/t",
            "accept: */*",
            "authorization: Basic aWQ6aHVudGVyMi1rZXk=",
            "content-type: application/x-www-form-urlencoded; charset=UTF-8",
            "user-agent: curl/8.5",
            ">grant_type=client_credentials",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // A public client, which has no secret.
    service(
        r#""url": "http://as.example/t", "client_id": "id", "grant": "password", "username": "u", "password_file": "password""#,
        &["POST as.example/t form", ">grant_type=password&client_id=id&username=u&password=hunter2+%22p%22"],
        PLAIN,
        "tok-1 3600",
    ),
];

/// What one service alone needs.
const ODD: &[Service] = &[
    // A client whose secret is empty, as Cloud Foundry's `cf`.
    service(
        r#""url": "http://as.example/t", "client_id": "cf", "client_secret": "", "grant": "password", "username": "u",
           "password_file": "key""#,
        &[
            "POST as.example/t form",
            "authorization: Basic Y2Y6",
            ">grant_type=password&username=u&password=hunter2-key",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // A header of the API with a member of the answer, and with a variable.
    service(
        r#""url": "http://as.example/t", "omit_grant_type": true, "keep": ["session.org"], "var": {"app": "a1"},
           "api": "Authorization: Session app={app} org={session.org} token={token}""#,
        &["POST as.example/t form"],
        r#"{"access_token":"tok-1","expires_in":60,"session":{"org":"o9"}}"#,
        "tok-1 60 Authorization: Session app=a1 org=o9 token=tok-1",
    ),
];

/// A person's login.
const LOGINS: &[Service] = &[
    service(
        r#""url": "http://as.example/t", "grant": "password", "auth": "client_secret_post", "client_id": "id",
           "client_secret_file": "key", "username": "u@x", "password_file": "password""#,
        &[
            "POST as.example/t form",
            ">grant_type=password&client_id=id&client_secret=hunter2-key&username=u%40x&password=hunter2+%22p%22",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    service(
        r#""url": "http://{platform}-api.example/auth/oauth/token", "var": {"platform": "pinotage"}, "grant": "password",
           "client_id": "public-client", "client_secret_file": "key", "username": "u", "password_file": "password""#,
        &[
            "POST pinotage-api.example/auth/oauth/token form",
            "authorization: Basic cHVibGljLWNsaWVudDpodW50ZXIyLWtleQ==",
            ">grant_type=password&username=u&password=hunter2+%22p%22",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // A URL as the grant, in JSON.
    service(
        r#""url": "http://as.example/t", "params": "json", "grant": "http://auth0.com/oauth/grant-type/password-realm",
           "client_id": "id", "client_secret_file": "key",
           "param": {"realm": "acme", "username": "u", "password": "{password}"}, "var_file": {"password": "password"}"#,
        &[
            "POST as.example/t json",
            r#">{"grant_type":"http://auth0.com/oauth/grant-type/password-realm","client_id":"id","client_secret":"hunter2-key","password":"hunter2 \"p\"","realm":"acme","username":"u"}"#,
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // No lifetime, and the token in another member.
    service(
        r#""url": "http://api.example/v1/api/auth/login", "params": "json", "omit_grant_type": true, "field": "jwt",
           "grant": "password", "username": "u", "password_file": "password""#,
        &["POST api.example/v1/api/auth/login json", r#">{"username":"u","password":"hunter2 \"p\""}"#],
        r#"{"jwt":"tok-1"}"#,
        "tok-1 -",
    ),
    // Names of its own, and the token alone in the header.
    service(
        r#""url": "http://api.example/v3/signin", "params": "json", "omit_grant_type": true,
           "param": {"email": "{username}", "password": "{password}"}, "grant": "password", "username": "u@x",
           "password_file": "password", "api": "Authorization: {token}""#,
        &["POST api.example/v3/signin json", r#">{"email":"u@x","password":"hunter2 \"p\""}"#],
        r#"{"access_token":"tok-1","user":{"name":"U"}}"#,
        "tok-1 - Authorization: tok-1",
    ),
    service(
        r#""url": "http://{domain}/api/security/login", "var": {"domain": "erp.acme.example:9001"}, "params": "json",
           "omit_grant_type": true, "param": {"login": "u", "password": "{pass}", "org": "NTO"},
           "var_file": {"pass": "password"}, "field": "AccessToken", "api": "Authorization-Token: {token}""#,
        &[
            "POST erp.acme.example:9001/api/security/login json",
            r#">{"login":"u","org":"NTO","password":"hunter2 \"p\""}"#,
        ],
        r#"{"AccessToken":"tok-1"}"#,
        "tok-1 - Authorization-Token: tok-1",
    ),
    // A form without a grant type, as Veeva Vault has it; the API wants the session alone.
    service(
        r#""url": "http://{vault}.example/api/{version}/auth", "var": {"vault": "acme", "version": "v24.1"},
           "omit_grant_type": true, "grant": "password", "username": "u", "password_file": "password",
           "field": "sessionId", "refused_if": {"responseStatus": "FAILURE"}, "api": "Authorization: {token}""#,
        &["POST acme.example/api/v24.1/auth form", ">username=u&password=hunter2+%22p%22"],
        r#"{"responseStatus":"SUCCESS","sessionId":"tok-1","userId":12}"#,
        "tok-1 - Authorization: tok-1",
    ),
    // Basic with the login, and nothing in the body.
    service(
        r#""url": "http://{instance}.example/api/v1/auth/token", "var": {"instance": "acme"}, "omit_grant_type": true,
           "client_id": "u", "client_secret_file": "password", "basic_raw": true, "params": "json",
           "auth": "client_secret_basic", "field": {"access_token": "token", "expires_at": "expires"}"#,
        &["POST acme.example/api/v1/auth/token json", "authorization: Basic dTpodW50ZXIyICJwIg==", ">{}"],
        "200\nDate: Tue, 01 Jan 2030 00:00:00 GMT\n\n{\"token\":\"tok-1\",\"expires\":\"2030-01-01T00:30:00.123Z\"}",
        "tok-1 1799",
    ),
    // The login in the URL, and a token as plain text.
    service(
        r#""url": "http://api.example/apiv2/authenticate?clientid={org}&username={username}&password={password}",
           "method": "GET", "omit_grant_type": true, "grant": "password", "username": "u v", "password_file": "secret",
           "var": {"org": "77"}, "field": "", "lifetime": "24h""#,
        &["GET api.example/apiv2/authenticate?clientid=77&username=u%20v&password=hunter2%26%3D%2B%20%C3%A9"],
        "200\nContent-Type: text/plain\n\ntok-1",
        "tok-1 86400",
    ),
    // The dialect `user-credentials`, in a form.
    service(
        r#""dialect": "user-credentials", "url": "http://as.example/authorization", "params": "form", "username": "u",
           "password_file": "password""#,
        &["POST as.example/authorization form", ">username=u&password=hunter2+%22p%22"],
        PLAIN,
        "tok-1 3600",
    ),
    // A user's key with a header of three parts, and a token deep in the answer.
    service(
        r#""url": "http://api.example/v1/authentication", "method": "GET", "omit_grant_type": true,
           "header": {"Authorization": "Basic {base64:{key}:{user}:{pass}}"}, "var": {"user": "u"},
           "var_file": {"key": "key", "pass": "password"}, "field": "authenticated_user.user_key",
           "api": "Authorization: Userkeyauth {base64:{key}:{token}}""#,
        &["GET api.example/v1/authentication", "authorization: Basic aHVudGVyMi1rZXk6dTpodW50ZXIyICJwIg=="],
        r#"{"authenticated_user":{"id":1,"user_key":"tok-1"}}"#,
        "tok-1 - Authorization: Userkeyauth aHVudGVyMi1rZXk6dG9rLTE=",
    ),
    // As SAP Business One has it: the API wants the session as a cookie.
    service(
        r#""url": "http://{domain}/b1s/v1/Login", "var": {"domain": "b1.acme.example:50000"}, "params": "json",
           "omit_grant_type": true,
           "param": {"CompanyDB": "ACME", "UserName": "manager", "Password": "{pass}"},
           "var_file": {"pass": "password"}, "field": "cookie:B1SESSION", "lifetime": {"absent": 1700},
           "api": "Cookie: B1SESSION={token}""#,
        &[
            "POST b1.acme.example:50000/b1s/v1/Login json",
            r#">{"CompanyDB":"ACME","Password":"hunter2 \"p\"","UserName":"manager"}"#,
        ],
        "200\nSet-Cookie: ROUTEID=.node3; path=/b1s\nSet-Cookie: B1SESSION=tok-1; HttpOnly\n\n{\"SessionTimeout\":30}",
        "tok-1 1700 Cookie: B1SESSION=tok-1",
    ),
    // As Keystone has it: nested JSON, the token in a header.
    service(
        r#""url": "http://cloud.example:5000/v3/auth/tokens", "params": "json", "omit_grant_type": true,
           "param": {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "u",
                     "domain": {"id": "default"}, "password": "{pass}"}}}, "scope": "unscoped"}},
           "var_file": {"pass": "password"}, "api": "X-Auth-Token: {token}",
           "field": {"access_token": "header:X-Subject-Token", "expires_at": "token.expires_at"}"#,
        &[
            "POST cloud.example:5000/v3/auth/tokens json",
            r#">{"auth":{"identity":{"methods":["password"],"password":{"user":{"domain":{"id":"default"},"name":"u","password":"hunter2 \"p\""}}},"scope":"unscoped"}}"#,
        ],
        "201\nX-Subject-Token: tok-1\nDate: Tue, 01 Jan 2030 00:00:00 GMT\n\n\
         {\"token\":{\"expires_at\":\"2030-01-01T01:00:00.000000Z\",\"methods\":[\"password\"]}}",
        "tok-1 3599 X-Auth-Token: tok-1",
    ),
    // As Form.io has it.
    service(
        r#""url": "http://forms.example/user/login", "params": "json", "omit_grant_type": true,
           "param": {"data": {"email": "u@x", "password": "{pass}"}}, "var_file": {"pass": "password"},
           "field": "header:x-jwt-token", "api": "x-jwt-token: {token}""#,
        &["POST forms.example/user/login json", r#">{"data":{"email":"u@x","password":"hunter2 \"p\""}}"#],
        "200\nX-Jwt-Token: tok-1\n\n{\"_id\":\"1\"}",
        "tok-1 - x-jwt-token: tok-1",
    ),
    // As Tableau has it.
    service(
        r#""url": "http://{server}/api/{version}/auth/signin", "var": {"server": "viz.example", "version": "3.22"},
           "params": "json", "omit_grant_type": true, "api": "X-Tableau-Auth: {token}", "lifetime": {"unit": "text"},
           "param": {"credentials": {"personalAccessTokenName": "ci", "personalAccessTokenSecret": "{pat}",
                     "site": {"contentUrl": ""}}}, "var_file": {"pat": "key"},
           "field": {"access_token": "credentials.token", "expires_in": "credentials.estimatedTimeToExpiration"}"#,
        &[
            "POST viz.example/api/3.22/auth/signin json",
            r#">{"credentials":{"personalAccessTokenName":"ci","personalAccessTokenSecret":"hunter2-key","site":{"contentUrl":""}}}"#,
        ],
        r#"{"credentials":{"site":{"id":"9"},"token":"tok-1","estimatedTimeToExpiration":"177:05:38"}}"#,
        "tok-1 637538 X-Tableau-Auth: tok-1",
    ),
    // A secret inside a GraphQL document.
    service(
        r#""url": "http://api.example/graphql", "params": "json", "omit_grant_type": true, "field": "data.signIn.token",
           "param": {"query": "mutation { signIn(email: \"u\", password: \"{json:{pass}}\") { token } }"},
           "var_file": {"pass": "password"}, "api": "x-token: {token}""#,
        &[
            "POST api.example/graphql json",
            r#">{"query":"mutation { signIn(email: \"u\", password: \"hunter2 \\\"p\\\"\") { token } }"}"#,
        ],
        r#"{"data":{"signIn":{"token":"tok-1"}}}"#,
        "tok-1 - x-token: tok-1",
    ),
];

/// JSON bodies, API keys, own schemes and variables.
const OWN_WAYS: &[Service] = &[
    service(
        r#""url": "http://{host}/oauth/token", "var": {"host": "acme.eu.example"}, "params": "json", "client_id": "id",
           "client_secret_file": "secret", "param": {"audience": "https://api.example", "organization": "org_1"}"#,
        &[
            "POST acme.eu.example/oauth/token json",
            r#">{"grant_type":"client_credentials","client_id":"id","client_secret":"hunter2&=+ é","audience":"https://api.example","organization":"org_1"}"#,
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // The token is nested, its lifetime is not.
    service(
        r#""url": "http://api.example/v1/auth", "params": "json", "omit_grant_type": true, "client_id": "id",
           "client_secret_file": "key", "field": "data.token""#,
        &["POST api.example/v1/auth json", r#">{"client_id":"id","client_secret":"hunter2-key"}"#],
        r#"{"success":true,"expires_in":86400,"data":{"token":"tok-1"}}"#,
        "tok-1 86400",
    ),
    service(
        r#""dialect": "json-credentials", "environments": {"eu": "http://eu.example/", "us": "http://us.example"},
           "environment": "eu", "path": "/api/v2/oauth2/token", "client_id": "id", "client_secret_file": "key""#,
        &[
            "POST eu.example/api/v2/oauth2/token json",
            r#">{"grant_type":"client_credentials","client_id":"id","client_secret":"hunter2-key"}"#,
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // Values that are no strings, beside an API key.
    service(
        r#""url": "http://api.example/auth/v1/authenticate", "params": "json", "omit_grant_type": true,
           "header_file": {"X-Api-Key": "key"}, "lifetime": 900, "field": "jwtToken",
           "param": {"userName": "u", "password": "{pass}", "isEncrypted": false, "mfaToken": "", "retries": 3,
                     "device": null, "roles": [], "ids": [1, 2.5]}, "var_file": {"pass": "password"}"#,
        &[
            "POST api.example/auth/v1/authenticate json",
            "x-api-key: hunter2-key",
            r#">{"device":null,"ids":[1,2.5],"isEncrypted":false,"mfaToken":"","password":"hunter2 \"p\"","retries":3,"roles":[],"userName":"u"}"#,
        ],
        r#"{"jwtToken":"tok-1"}"#,
        "tok-1 900",
    ),
    // An API key is all that is sent; the API wants the token in a header of its own.
    service(
        r#""url": "http://api.example/core/v3/stores/{store}/access_tokens", "var": {"store": "a/b c"},
           "params": "json", "omit_grant_type": true, "param": {"secret": "{key}"}, "var_file": {"key": "key"},
           "api": "X-Shop-Token: {token}""#,
        &["POST api.example/core/v3/stores/a%2Fb%20c/access_tokens json", r#">{"secret":"hunter2-key"}"#],
        r#"{"access_token":"tok-1"}"#,
        "tok-1 - X-Shop-Token: tok-1",
    ),
    // A scheme of its own with the client's credentials, as Workday has it.
    service(
        r#""url": "http://{host}/ccx/oauth2/{tenant}/token", "var": {"host": "wd2.example", "tenant": "acme"},
           "header": {"Authorization": "ID {base64:{client_id}:{client_secret}}"}, "client_id": "id",
           "client_secret_file": "secret", "param": {"tenant_alias": "{tenant}"}"#,
        &[
            "POST wd2.example/ccx/oauth2/acme/token form",
            "authorization: ID aWQ6aHVudGVyMiY9KyDDqQ==",
            ">grant_type=client_credentials&tenant_alias=acme",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // A keyed hash that another program has made.
    service(
        r#""url": "http://{base}/api/v2/auth/client_token", "var": {"base": "docs.example"}, "params": "json",
           "omit_grant_type": true, "scope": "docs_api", "param": {"content": "{content}"},
           "header": {"X-Key": "{api_key}", "X-Hash": "{hash}"},
           "var_file": {"api_key": "key", "hash": "key", "content": "secret"},
           "field": {"expires_at": "expiry_time"}, "api": "X-Access-Token: {token}""#,
        &[
            "POST docs.example/api/v2/auth/client_token json",
            "x-hash: hunter2-key",
            "x-key: hunter2-key",
            r#">{"scope":"docs_api","content":"hunter2&=+ é"}"#,
        ],
        "200\nDate: Tue, 01 Jan 2030 00:00:00 GMT\n\n{\"access_token\":\"tok-1\",\"expiry_time\":1893459600}",
        "tok-1 3599 X-Access-Token: tok-1",
    ),
    // PUT.
    service(
        r#""url": "http://as.example/session", "method": "PUT", "params": "json", "client_id": "id",
           "client_secret_file": "key""#,
        &[
            "PUT as.example/session json",
            r#">{"grant_type":"client_credentials","client_id":"id","client_secret":"hunter2-key"}"#,
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // Basic in a GET, with an account in the path.
    service(
        r#""url": "http://api.example/v1/accounts/{account}/token", "var": {"account": "42"}, "method": "GET",
           "omit_grant_type": true, "auth": "client_secret_basic", "client_id": "id", "client_secret_file": "key",
           "api": "Authorization: Token {token}""#,
        &["GET api.example/v1/accounts/42/token", "authorization: Basic aWQ6aHVudGVyMi1rZXk="],
        r#"{"token_type":"Token","access_token":"tok-1","expires_in":3600}"#,
        "tok-1 3600 Authorization: Token tok-1",
    ),
    // A variable in the query, and one that is a whole base URL.
    service(
        r#""url": "{base}/t?tenant={tenant}", "var": {"base": "http://as.example/a/b", "tenant": "x&y=z"},
           "client_id": "id", "client_secret_file": "key""#,
        &[
            "POST as.example/a/b/t?tenant=x%26y%3Dz form",
            "authorization: Basic aWQ6aHVudGVyMi1rZXk=",
            ">grant_type=client_credentials",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // Four variables, two of them in both host and path.
    service(
        r#""url": "http://{tenant}.{region}.as.example/{tenant}/{workspace}/oauth2/token",
           "var": {"tenant": "acme", "region": "eu", "workspace": "main"}, "auth": "client_secret_post",
           "client_id": "id", "client_secret_file": "key", "scope": "one two""#,
        &[
            "POST acme.eu.as.example/acme/main/oauth2/token form",
            ">grant_type=client_credentials&client_id=id&client_secret=hunter2-key&scope=one+two",
        ],
        PLAIN,
        "tok-1 3600",
    ),
    // A client id that is a secret.
    service(
        r#""url": "http://as.example/t", "param": {"client_id": "{id}", "client_secret": "{secret}"},
           "var_file": {"id": "key", "secret": "secret"}, "field": {"expires_in": "access_token_validity"}"#,
        &[
            "POST as.example/t form",
            ">grant_type=client_credentials&client_id=hunter2-key&client_secret=hunter2%26%3D%2B+%C3%A9",
        ],
        r#"{"access_token":"tok-1","access_token_validity":1800}"#,
        "tok-1 1800",
    ),
    // A long-lived token is exchanged for that of a session.
    service(
        r#""dialect": "bearer-session", "url": "http://b.example/oauth20/access-token", "session_token_file": "key""#,
        &["GET b.example/oauth20/access-token", "authorization: bearer hunter2-key"],
        r#"{"access_token":"tok-1","token_type":"bearer","expires_in":600,"session":{"id":"s"}}"#,
        "tok-1 600",
    ),
    // Metadata services: plain http, to a link-local address.
    service(
        r#""url": "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01", "method": "GET",
           "omit_grant_type": true, "header": {"Metadata": "true"}, "param": {"resource": "https://vault.example"}"#,
        &[
            "GET 169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.example",
            "metadata: true",
        ],
        r#"{"access_token":"tok-1","expires_in":"3599","expires_on":"1893459600","token_type":"Bearer"}"#,
        "tok-1 3599",
    ),
    service(
        r#""url": "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/{account}/token",
           "var": {"account": "default"}, "method": "GET", "omit_grant_type": true,
           "header": {"Metadata-Flavor": "Google"}"#,
        &[
            "GET metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token",
            "metadata-flavor: Google",
        ],
        r#"{"access_token":"tok-1","expires_in":3599,"token_type":"Bearer"}"#,
        "tok-1 3599",
    ),
];

/// Where token and lifetime are, and what the lifetime is.
const ANSWERS: &[Service] = &[
    // As Tripletex has it: the API wants Basic with the token as the password.
    answered(
        r#""field": "value.token", "lifetime": "5d", "api": "Authorization: Basic {base64:0:{token}}""#,
        r#"{"value":{"id":1,"token":"tok-1"}}"#,
        "tok-1 432000 Authorization: Basic MDp0b2stMQ==",
    ),
    answered(r#""field": "data.0.token""#, r#"{"data":[{"token":"tok-1","expires_in":60}]}"#, "tok-1 60"),
    answered(r#""field": "1.accessToken""#, r#"[{"acvVersion":"1.0"},{"accessToken":"tok-1"}]"#, "tok-1 -"),
    answered(r#""field": "", "lifetime": "15m""#, "200\nContent-Type: application/json\n\n\"tok-1\"", "tok-1 900"),
    answered(
        r#""field": {"access_token": "accessToken", "expires_in": "expireIn"}"#,
        r#"{"accessToken":"tok-1","expireIn":7200}"#,
        "tok-1 7200",
    ),
    answered(
        r#""lifetime": {"unit": "milliseconds"}"#,
        r#"{"access_token":"tok-1","expires_in":3600000}"#,
        "tok-1 3600",
    ),
    answered(r#""lifetime": {"unit": "minutes"}"#, r#"{"access_token":"tok-1","expires_in":"60"}"#, "tok-1 3600"),
    answered(r#""lifetime": {"unit": "text"}"#, r#"{"access_token":"tok-1","expires_in":"3600s"}"#, "tok-1 3600"),
    answered(r#""lifetime": {"unit": "text"}"#, r#"{"access_token":"tok-1","expires_in":"01:00:00"}"#, "tok-1 3600"),
    answered(r#""lifetime": {"zero": "1h"}"#, r#"{"access_token":"tok-1","expires_in":0}"#, "tok-1 3600"),
    answered(r#""lifetime": {"zero": "unknown"}"#, r#"{"access_token":"tok-1","expires_in":-1}"#, "tok-1 -"),
    answered(r#""lifetime": {"maximum": "10m"}"#, PLAIN, "tok-1 600"),
    answered(r#""lifetime": 3600"#, r#"{"access_token":"tok-1"}"#, "tok-1 3600"),
    // The earlier of two ends counts.
    answered(
        r#""field": {"expires_at": "expires_at"}"#,
        "200\nDate: Tue, 01 Jan 2030 00:00:00 GMT\n\n\
         {\"access_token\":\"tok-1\",\"expires_in\":3600,\"expires_at\":\"2030-01-01T00:10:00Z\"}",
        "tok-1 599",
    ),
    // A JWT that ends at 01:00.
    answered(
        r#""lifetime": {"jwt": true}"#,
        "200\nDate: Tue, 01 Jan 2030 00:00:00 GMT\n\n{\"access_token\":\"e30.eyJleHAiOjE4OTM0NTk2MDB9.c2ln\"}",
        "e30.eyJleHAiOjE4OTM0NTk2MDB9.c2ln 3599",
    ),
];

/// How a service refuses.
const REFUSALS: &[Service] = &[
    // As Feishu has it: the code is there in a success, too.
    answered(
        r#""refused_if": {"code": {"not": 0}}, "field": {"access_token": "tenant_access_token", "expires_in": "expire"}"#,
        r#"{"code":10003,"msg":"invalid app_id"}"#,
        "exit 3: the server refused (status 200): invalid app_id",
    ),
    answered(
        r#""refused_if": {"code": {"not": 0}}, "field": {"access_token": "tenant_access_token", "expires_in": "expire"}"#,
        r#"{"code":0,"msg":"ok","tenant_access_token":"tok-1","expire":7200}"#,
        "tok-1 7200",
    ),
    answered(
        r#""refused_if": {"success": false}"#,
        r#"{"success":false,"message":"Unknown tenant"}"#,
        "exit 3: the server refused (status 200): Unknown tenant",
    ),
    answered(
        r#""refused_if": {"status": ["error", "denied"]}"#,
        r#"{"status":"denied","access_token":"tok-1"}"#,
        "exit 3: the server refused (status 200: `status` is denied) and did not say why",
    ),
    answered(
        r#""field": {"access_token": "data.token", "error": "code", "error_description": "text"}"#,
        r#"{"code":4011,"text":"Wrong key","data":null}"#,
        "exit 3: the server refused (status 200): 4011 (Wrong key)",
    ),
    answered(
        "",
        "401\n\n{\"errorCode\":\"E1\",\"errorSummary\":\"No such client\"}",
        "exit 3: the server refused (status 401): No such client",
    ),
    answered(
        "",
        "400\n\n{\"error\":{\"message\":\"Bad signature\",\"code\":191}}",
        "exit 3: the server refused (status 400): Bad signature",
    ),
    answered(
        "",
        "403\n\n{\"title\":\"Forbidden\",\"detail\":\"Not for this tenant\"}",
        "exit 3: the server refused (status 403): Not for this tenant",
    ),
];

const fn answered(profile: &'static str, answer: &'static str, gets: &'static str) -> Service {
    Service { profile, sends: &["POST as.example/t form", ">grant_type=client_credentials"], answer, gets }
}

/// Moments of expiry, in an answer whose `Date` is midnight.
const MOMENTS: &[(&str, &str)] = &[
    (r#""2030-01-01T01:00:00Z""#, "tok-1 3599"),
    (r#""2030-01-01T02:00:00.5+01:00""#, "tok-1 3599"),
    (r#""Tue, 01 Jan 2030 01:00:00 GMT""#, "tok-1 3599"),
    ("1893459600", "tok-1 3599"),
    (r#""1893459600""#, "tok-1 3599"),
    ("1893459600000", "tok-1 3599"),
    // Without an offset it is no moment.
    (r#""2030-01-01 01:00:00""#, "tok-1 -"),
];

/// How a token is renewed: members of the profile, and the request for that.
const RENEWALS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "POST as.example/t form",
            "authorization: Basic aWQ6aHVudGVyMi1rZXk=",
            ">grant_type=refresh_token&refresh_token=rt%2F1",
        ],
    ),
    (
        r#""refresh": false,"#,
        &["POST as.example/t form", "authorization: Basic aWQ6aHVudGVyMi1rZXk=", ">grant_type=client_credentials"],
    ),
    (
        r#""refresh": {"url": "http://as.example/Authorization/RefreshToken", "params": "json", "auth": "none",
                       "omit_grant_type": true, "param": {"RefreshToken": "{refresh_token}"}},"#,
        &["POST as.example/Authorization/RefreshToken json", r#">{"RefreshToken":"rt/1"}"#],
    ),
    // The token is its own successor's credential.
    (
        r#""field": {"refresh_token": "none"},
           "refresh": {"with": "token", "url": "http://as.example/refresh", "auth": "none", "params": "json",
                       "omit_grant_type": true, "header": {"Authorization": "Bearer {token}"}},"#,
        &["POST as.example/refresh json", "authorization: Bearer tok-1", ">{}"],
    ),
    (
        r#""field": {"refresh_token": "none"},
           "refresh": {"with": "token", "url": "http://as.example/refresh_access_token", "method": "GET", "auth": "none",
                       "omit_grant_type": true, "param": {"grant_type": "ig_refresh_token", "access_token": "{token}"}},"#,
        &["GET as.example/refresh_access_token?access_token=tok-1&grant_type=ig_refresh_token"],
    ),
];

/// A place with a profile of these members.
fn place(members: &str) -> Place {
    let place = Place::new();
    place.file("here/secret", "hunter2&=+ é");
    place.file("here/password", "hunter2 \"p\"");
    place.file("here/key", "hunter2-key");
    place.file("here/p.json", format!("{{{members}}}"));
    place
}

fn check(services: &[Service]) {
    for Service { profile, sends, answer, gets } in services {
        let url = match profile.contains("\"url\"") || profile.contains("\"environments\"") {
            true => "",
            false => r#""url": "http://as.example/t""#,
        };
        let joint = if profile.is_empty() || url.is_empty() { "" } else { ", " };
        let place = place(&[url, profile].join(joint));
        let server = Server::answering(bytes(answer));
        match gets.split_once(": ").filter(|(code, _)| code.starts_with("exit ")) {
            Some((code, message)) => {
                let outcome = token(&place, &server, &[]);
                let first = outcome.stderr.lines().next().unwrap_or_default();
                assert_eq!(
                    (outcome.code.map(|code| format!("exit {code}")), first),
                    (Some(code.to_owned()), &*format!("keyfob: {message}")),
                    "{profile}"
                );
            }
            None => {
                let [token_and_rest, api] = match gets.splitn(3, ' ').collect::<Vec<_>>()[..] {
                    [token, rest, api] => [format!("{token} {rest}"), api.to_owned()],
                    [token, _] => [(*gets).to_owned(), format!("Authorization: Bearer {token}")],
                    _ => panic!("{gets}"),
                };
                let outcome = token(&place, &server, &["--format", "json"]);
                assert_eq!(token_and_lifetime(&outcome, gets), token_and_rest, "{profile}");
                token(&place, &server, &["--format", "header"]).prints(&api);
            }
        }
        let requests = server.requests();
        // A token whose end is not known is not stored, so that there are two.
        assert!(!requests.is_empty());
        requests.iter().for_each(|request| assert_eq!(shown(request), *sends, "{profile}"));
    }
}

#[test]
fn the_client_asks_with_a_form() {
    check(ORDINARY);
}

#[test]
fn one_service_alone_needs_it() {
    check(ODD);
}

/// The secret in the header would stand in the store.
#[test]
fn a_token_whose_header_has_a_secret_is_not_stored() {
    for (api, count) in [("X-T: {tenant}.{token}", 1), ("X-T: {key}.{token}", 2)] {
        let place = place(&format!(
            r#""url": "http://as.example/t", "var": {{"tenant": "a"}}, "var_file": {{"key": "key"}}, "api": "{api}""#
        ));
        let server = Server::answering(json(200, PLAIN));
        token(&place, &server, &[]).prints("tok-1");
        token(&place, &server, &[]).prints("tok-1");
        assert_eq!(server.requests().len(), count, "{api}");
    }
}

#[test]
fn a_person_signs_in() {
    check(LOGINS);
}

#[test]
fn a_service_has_its_own_ways() {
    check(OWN_WAYS);
}

#[test]
fn an_answer_has_token_and_lifetime_in_its_own_places() {
    check(ANSWERS);
}

#[test]
fn a_service_refuses_in_its_own_words() {
    check(REFUSALS);
}

#[test]
fn a_moment_of_expiry_is_read_against_the_date_of_the_answer() {
    for (moment, gets) in MOMENTS {
        let place = place(r#""url": "http://as.example/t", "field": {"expires_at": "expires_at"}"#);
        let body = format!(r#"{{"access_token":"tok-1","expires_at":{moment}}}"#);
        let server = Server::answering(answer(200, &["Date: Tue, 01 Jan 2030 00:00:00 GMT"], &body));
        let outcome = token(&place, &server, &["--format", "json"]);
        assert_eq!(token_and_lifetime(&outcome, gets), *gets, "{moment}");
    }
}

#[test]
fn a_token_is_renewed_in_the_way_of_its_service() {
    const FIRST: &str = r#"{"access_token":"tok-1","refresh_token":"rt/1","expires_in":3600}"#;
    const SECOND: &str = r#"{"access_token":"tok-2","expires_in":3600}"#;
    for (members, sends) in RENEWALS {
        let place = place(&format!(
            r#"{members} "url": "http://as.example/t", "client_id": "id", "client_secret_file": "key""#
        ));
        let count = AtomicUsize::new(0);
        let server = Server::with(move |_, stream| {
            let body = if count.fetch_add(1, Ordering::Relaxed) == 0 { FIRST } else { SECOND };
            let _ = stream.write_all(&json(200, body));
        });
        token(&place, &server, &[]).prints("tok-1");
        token(&place, &server, &["--fresh"]).prints("tok-2");
        let requests = server.requests();
        assert_eq!(
            (requests.len(), shown(&requests[1])),
            (2, sends.iter().map(|line| (*line).to_owned()).collect()),
            "{members}"
        );
    }
}
