//! What each option and profile member sends.

use crate::*;

#[test]
fn a_request_has_these_headers_and_no_others() {
    let place = Place::new();
    let server = token_server();
    place
        .token(&server.url("/oauth/token?tenant=1"), &["--client-id", "my-client", "--client-secret-file", "secret"])
        .outcome()
        .prints("tok-1");
    let mut request = server.request();
    request.headers.sort();
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        request,
        Seen {
            method: "POST".into(),
            target: "/oauth/token?tenant=1".into(),
            headers: vec![
                header("accept", "application/json"),
                header("authorization", "Basic bXktY2xpZW50Omh1bnRlcjI="),
                header("content-length", "29"),
                header("content-type", "application/x-www-form-urlencoded"),
                header("host", &server.address().to_string()),
                header("user-agent", &format!("keyfob/{VERSION}")),
            ],
            body: b"grant_type=client_credentials".to_vec(),
        }
    );
}

#[test]
fn each_option_reaches_the_request_and_so_does_each_member_of_a_profile() {
    const FORM: &str = "content-type: application/x-www-form-urlencoded\n";
    const JSON: &str = "content-type: application/json\n";
    let place = Place::new();
    place.file("here/odd", ODD_SECRET);
    place.file("here/key", "hunter2-key\n");
    let id = ["--client-id", "my-client", "--client-secret-file", "secret"];
    let odd = ["--client-id", "my client", "--client-secret-file", "odd"];
    let id_members = r#""client_id":"my-client","client_secret_file":"secret""#;
    let odd_members = r#""client_id":"my client","client_secret_file":"odd""#;
    let with = |common: &[&'static str], options: &[&'static str]| [common, options].concat();
    let urn = "urn:ietf:params:oauth:grant-type:device_code";
    for (options, members, request) in [
        // Who asks.
        (vec![], String::new(), format!("POST /t\n{FORM}\ngrant_type=client_credentials")),
        (
            with(&["--client-id", "my-client"], &[]),
            r#""client_id":"my-client""#.into(),
            format!("POST /t\n{FORM}\ngrant_type=client_credentials&client_id=my-client"),
        ),
        (
            with(&odd, &[]),
            odd_members.into(),
            format!(
                "POST /t\n{FORM}authorization: Basic bXkrY2xpZW50Omh1bnRlcjIrJTI2JTNEJTJCJTIyJTVDJUMzJUE5\n\n\
                 grant_type=client_credentials"
            ),
        ),
        (
            with(&odd, &["--basic-raw"]),
            format!(r#"{odd_members},"basic_raw":true"#),
            format!(
                "POST /t\n{FORM}authorization: Basic bXkgY2xpZW50Omh1bnRlcjIgJj0rIlzDqQ==\n\n\
                 grant_type=client_credentials"
            ),
        ),
        (
            with(&id, &["--auth", "client_secret_basic", "--params", "json"]),
            format!(r#"{id_members},"auth":"client_secret_basic","params":"json""#),
            format!(
                "POST /t\n{JSON}authorization: Basic bXktY2xpZW50Omh1bnRlcjI=\n\n\
                 {{\"grant_type\":\"client_credentials\"}}"
            ),
        ),
        (
            with(&odd, &["--auth", "client_secret_post"]),
            format!(r#"{odd_members},"auth":"client_secret_post""#),
            format!(
                "POST /t\n{FORM}\ngrant_type=client_credentials&client_id=my+client\
                 &client_secret=hunter2+%26%3D%2B%22%5C%C3%A9"
            ),
        ),
        (
            vec!["--auth", "none", "--client-id", "my-client"],
            r#""auth":"none","client_id":"my-client""#.into(),
            format!("POST /t\n{FORM}\ngrant_type=client_credentials&client_id=my-client"),
        ),
        (
            vec!["--client-id", "my-client", "--client-secret-env", "SECRET"],
            r#""client_id":"my-client","client_secret_env":"SECRET""#.into(),
            format!("POST /t\n{FORM}authorization: Basic bXktY2xpZW50Omh1bnRlcjI=\n\ngrant_type=client_credentials"),
        ),
        (
            vec!["--auth", "none", "--resource", "https://a.example/v1", "--resource", "urn:b"],
            r#""auth":"none","resource":["https://a.example/v1","urn:b"]"#.into(),
            format!(
                "POST /t\n{FORM}\ngrant_type=client_credentials&resource=https%3A%2F%2Fa.example%2Fv1&resource=urn%3Ab"
            ),
        ),
        (
            vec!["--auth", "none", "--params", "json", "--resource", "urn:b"],
            r#""auth":"none","params":"json","resource":"urn:b""#.into(),
            format!("POST /t\n{JSON}\n{{\"grant_type\":\"client_credentials\",\"resource\":\"urn:b\"}}"),
        ),
        // Where the parameters go.
        (
            with(&id, &["--params", "form"]),
            format!(r#"{id_members},"params":"form""#),
            format!("POST /t\n{FORM}authorization: Basic bXktY2xpZW50Omh1bnRlcjI=\n\ngrant_type=client_credentials"),
        ),
        (
            with(&odd, &["--params", "json", "--scope", "a", "--scope", "b", "--param", "audience=x/y"]),
            format!(r#"{odd_members},"params":"json","scope":["a","b"],"param":{{"audience":"x/y"}}"#),
            format!(
                "POST /t\n{JSON}\n{{\"grant_type\":\"client_credentials\",\"client_id\":\"my client\",\
                 \"client_secret\":\"hunter2 &=+\\\"\\\\é\",\"scope\":\"a b\",\"audience\":\"x/y\"}}"
            ),
        ),
        (
            with(&odd, &["--params", "query"]),
            format!(r#"{odd_members},"params":"query""#),
            "POST /t?grant_type=client_credentials&client_id=my%20client\
             &client_secret=hunter2%20%26%3D%2B%22%5C%C3%A9\n\n"
                .into(),
        ),
        (
            with(&id, &["--method", "GET"]),
            format!(r#"{id_members},"method":"GET""#),
            "GET /t?grant_type=client_credentials&client_id=my-client&client_secret=hunter2\n\n".into(),
        ),
        (
            with(&id, &["--method", "POST"]),
            format!(r#"{id_members},"method":"POST""#),
            format!("POST /t\n{FORM}authorization: Basic bXktY2xpZW50Omh1bnRlcjI=\n\ngrant_type=client_credentials"),
        ),
        // The dialects.
        (
            with(&id, &["--dialect", "json-credentials"]),
            format!(r#"{id_members},"dialect":"json-credentials""#),
            format!(
                "POST /t\n{JSON}\n{{\"grant_type\":\"client_credentials\",\"client_id\":\"my-client\",\
                 \"client_secret\":\"hunter2\"}}"
            ),
        ),
        (
            with(&id, &["--dialect", "json-credentials", "--method", "GET"]),
            format!(r#"{id_members},"dialect":"json-credentials","method":"GET""#),
            "GET /t?grant_type=client_credentials&client_id=my-client&client_secret=hunter2\n\n".into(),
        ),
        (
            vec!["--dialect", "bearer-session", "--session-token-file", "secret"],
            r#""dialect":"bearer-session","session_token_file":"secret""#.into(),
            "GET /t\nauthorization: bearer hunter2\n\n".into(),
        ),
        (
            with(&id, &["--dialect", "form-credentials", "--scope", "https://tenant.example"]),
            format!(r#"{id_members},"dialect":"form-credentials","scope":"https://tenant.example""#),
            format!(
                "POST /t\n{FORM}\ngrant_type=client_credentials&client_id=my-client&client_secret=hunter2\
                 &scope=https%3A%2F%2Ftenant.example"
            ),
        ),
        (
            vec!["--dialect", "user-credentials", "--username", "a b", "--password-file", "secret"],
            r#""dialect":"user-credentials","username":"a b","password_file":"secret""#.into(),
            "POST /t?username=a%20b&password=hunter2\n\n".into(),
        ),
        (
            vec!["--dialect", "user-credentials", "--params", "form", "--username", "u", "--password-env", "SECRET"],
            r#""dialect":"user-credentials","params":"form","username":"u","password_env":"SECRET""#.into(),
            format!("POST /t\n{FORM}\nusername=u&password=hunter2"),
        ),
        // The grants.
        (
            with(&id, &["--grant", "client_credentials"]),
            format!(r#"{id_members},"grant":"client_credentials""#),
            format!("POST /t\n{FORM}authorization: Basic bXktY2xpZW50Omh1bnRlcjI=\n\ngrant_type=client_credentials"),
        ),
        (
            vec!["--grant", "password", "--username", "u", "--password-file", "odd", "--scope", "a b"],
            r#""grant":"password","username":"u","password_file":"odd","scope":"a b""#.into(),
            format!("POST /t\n{FORM}\ngrant_type=password&username=u&password=hunter2+%26%3D%2B%22%5C%C3%A9&scope=a+b"),
        ),
        (
            vec!["--grant", "bearer_session", "--session-token-env", "SECRET"],
            r#""grant":"bearer_session","session_token_env":"SECRET""#.into(),
            "GET /t\nauthorization: bearer hunter2\n\n".into(),
        ),
        (
            vec!["--grant", "refresh_token", "--refresh-token-file", "secret", "--client-id", "c"],
            r#""grant":"refresh_token","refresh_token_file":"secret","client_id":"c""#.into(),
            format!("POST /t\n{FORM}\ngrant_type=refresh_token&client_id=c&refresh_token=hunter2"),
        ),
        (
            vec!["--grant", "account_credentials", "--param", "account_id=7"],
            r#""grant":"account_credentials","param":{"account_id":"7"}"#.into(),
            format!("POST /t\n{FORM}\ngrant_type=account_credentials&account_id=7"),
        ),
        (
            vec!["--method", "PUT", "--params", "json", "--param", "resource=a", "--param", "resource=b"],
            r#""method":"PUT","params":"json","param":{"resource":["a","b"]}"#.into(),
            r#"PUT /t
content-type: application/json

{"grant_type":"client_credentials","resource":["a","b"]}"#
                .into(),
        ),
        (
            vec!["--grant", urn, "--client-id", "c", "--param-file", "device_code=key", "--param", "x=1=2"],
            format!(r#""grant":"{urn}","client_id":"c","param_file":{{"device_code":"key"}},"param":{{"x":"1=2"}}"#),
            format!(
                "POST /t\n{FORM}\ngrant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&client_id=c\
                 &x=1%3D2&device_code=hunter2-key"
            ),
        ),
        // What is added.
        (
            vec!["--param", "resource=https://a.example", "--param=resource=https://b.example", "--param", "empty="],
            r#""param":{"resource":["https://a.example","https://b.example"],"empty":""}"#.into(),
            format!(
                "POST /t\n{FORM}\ngrant_type=client_credentials&empty=&resource=https%3A%2F%2Fa.example\
                 &resource=https%3A%2F%2Fb.example"
            ),
        ),
        (
            vec!["--header", "X-Tenant:  a: b ", "--header-file", "X-Key: key", "--header", "x-empty-not: 0"],
            r#""header":{"X-Tenant":"a: b","x-empty-not":"0"},"header_file":{"X-Key":"key"}"#.into(),
            format!(
                "POST /t\n{FORM}x-tenant: a: b\nx-empty-not: 0\nx-key: hunter2-key\n\ngrant_type=client_credentials"
            ),
        ),
        (
            vec!["--header-file", "Authorization: secret"],
            r#""header_file":{"Authorization":"secret"}"#.into(),
            format!("POST /t\n{FORM}authorization: hunter2\n\ngrant_type=client_credentials"),
        ),
        (
            vec!["--header", "content-type: application/x-www-form-urlencoded;charset=UTF-8"],
            r#""header":{"content-type":"application/x-www-form-urlencoded;charset=UTF-8"}"#.into(),
            "POST /t\ncontent-type: application/x-www-form-urlencoded;charset=UTF-8\n\ngrant_type=client_credentials"
                .into(),
        ),
        // What changes the answer or the way there alone.
        (
            vec![
                "--allow-http",
                "--timeout",
                "20s",
                "--lifetime",
                "1m",
                "--min-valid",
                "0.5",
                "--field",
                "access_token",
            ],
            r#""allow_http":true,"timeout":"20s","lifetime":"1m","min_valid":0.5,"field":"access_token""#.into(),
            format!("POST /t\n{FORM}\ngrant_type=client_credentials"),
        ),
        (
            vec!["--fresh", "--cache-dir", "cache", "--format", "token"],
            r#""fresh":true,"cache_dir":"cache","format":"token""#.into(),
            format!("POST /t\n{FORM}\ngrant_type=client_credentials"),
        ),
        (
            vec!["--access-token-file", "none"],
            r#""access_token_file":"none""#.into(),
            format!("POST /t\n{FORM}\ngrant_type=client_credentials"),
        ),
    ] {
        let server = token_server();
        place.token(&server.url("/t"), &options).variable("SECRET", SENTINEL).outcome().prints("tok-1");
        let seen = server.request();
        assert_eq!(in_order(&shown(&seen, &server)), in_order(&request), "{options:?}");

        let server = token_server();
        let comma = if members.is_empty() { "" } else { "," };
        place.file("here/p.json", format!(r#"{{"url":"{}","no_cache":true{comma}{members}}}"#, server.url("/t")));
        place.keyfob(["token", "./p.json"]).variable("SECRET", SENTINEL).outcome().prints("tok-1");
        assert_eq!(in_order(&shown(&server.request(), &server)), in_order(&request), "{members}");
    }
}

/// The id from a file or a variable; a secret that is empty, and said to be.
#[test]
fn an_id_may_be_read_and_a_secret_may_be_empty() {
    let place = Place::new();
    place.file("here/id", "read\n");
    for (members, options, authorization, body) in [
        (r#""client_id_file": "id""#, &[][..], None, "&client_id=read"),
        (r#""client_id_env": "ID""#, &[], None, "&client_id=from"),
        (r#""client_id": "id""#, &["--client-id-file", "id"], None, "&client_id=read"),
        (r#""client_id_file": "id""#, &["--client-id", "given"], None, "&client_id=given"),
        (r#""client_id": "id", "client_secret": """#, &[], Some("Basic aWQ6"), ""),
        (
            r#""client_id": "id", "client_secret": "", "auth": "client_secret_post""#,
            &[],
            None,
            "&client_id=id&client_secret=",
        ),
        (r#""client_id": "id", "client_secret": """#, &["--client-secret-file", "id"], Some("Basic aWQ6cmVhZA=="), ""),
    ] {
        let server = token_server();
        place.file("here/p.json", format!(r#"{{"url": "{}", {members}}}"#, server.url("/t")));
        let words = [&["token", "./p.json", "--no-cache"][..], options].concat();
        place.keyfob(words).variable("ID", "from").outcome().prints("tok-1");
        let request = server.request();
        assert_eq!(request.body_text(), format!("grant_type=client_credentials{body}"), "{members} {options:?}");
        assert_eq!(request.header("authorization"), authorization, "{members} {options:?}");
    }
    for (members, text) in [
        (r#""client_id_file": "id", "client_id": "id""#, "`client_id` is given twice\nhint: remove one of them"),
        (
            r#""client_id": "id", "client_secret": "", "client_secret_file": "id""#,
            "`client_secret` is given twice\nhint: remove one of them",
        ),
    ] {
        place.file("here/p.json", format!(r#"{{"url": "https://as.example", {members}}}"#));
        place.keyfob(["token", "./p.json", "--no-cache"]).outcome().fails(2, &format!("keyfob: {text}"));
    }
}
