//! Profiles: where they are, what is wrong in them, and how options override them.

use crate::*;

#[test]
fn a_profile_is_found_by_its_path_or_its_name() {
    let place = Place::new();
    let (by_path, in_config, in_home) = (token_server(), token_server(), token_server());
    let profile = |server: &Server, path: &str| format!(r#"{{"url":"{}","no_cache":true}}"#, server.url(path));
    place.file("here/p.json", profile(&by_path, "/path"));
    place.file("here/meter", profile(&by_path, "/path-of-the-same-name"));
    place.file("config/keyfob/meter.json", profile(&in_config, "/config"));
    place.file("home/.config/keyfob/meter.json", profile(&in_home, "/home"));
    place.keyfob(["token", "./p.json"]).outcome().prints("tok-1");
    place.keyfob(["token", "./meter"]).outcome().prints("tok-1");
    place.keyfob(["token".to_owned(), place.path("here/p.json")]).outcome().prints("tok-1");
    place.keyfob(["token", "meter"]).outcome().prints("tok-1");
    place.keyfob(["token", "--timeout", "9", "meter"]).without_variable("XDG_CONFIG_HOME").outcome().prints("tok-1");
    place.keyfob(["token", "meter"]).variable("XDG_CONFIG_HOME", "").outcome().prints("tok-1");
    // The XDG specification: a relative path is invalid and ignored.
    place.keyfob(["token", "meter"]).variable("XDG_CONFIG_HOME", "../config").outcome().prints("tok-1");
    let targets = |server: &Server| server.requests().into_iter().map(|seen| seen.target).collect::<Vec<_>>();
    assert_eq!(targets(&by_path), ["/path", "/path-of-the-same-name", "/path"]);
    assert_eq!(targets(&in_config), ["/config"]);
    assert_eq!(targets(&in_home), ["/home", "/home", "/home"]);
}

#[test]
fn a_profile_that_is_nowhere_is_an_error_that_says_where_it_was_looked_for() {
    let place = Place::new();
    // In the current directory, where a name alone does not look.
    place.file("here/meter", "{}");
    place.file("here/meter.json", "{}");
    for (variable, directory) in [("XDG_CONFIG_HOME", "config"), ("HOME", "home/.config")] {
        let mut run = place.keyfob(["token", "meter"]);
        if variable == "HOME" {
            run = run.without_variable("XDG_CONFIG_HOME");
        }
        let own = place.path(directory);
        run.outcome().is(
            2,
            "proto = \"-all\"\n",
            &format!(
                "keyfob: profile meter: not found\n\
                 hint: looked for {own}/keyfob/meter.json and /etc/keyfob/meter.json; \
                 the path of another file needs a slash\n"
            ),
        );
    }
}

#[test]
fn a_profile_without_an_end_is_not_read_for_ever() {
    let outcome = Place::new().keyfob(["token", "/dev/zero"]).outcome();
    outcome.is(2, "proto = \"-all\"\n", "keyfob: profile /dev/zero: larger than 1 MiB\n");
}

#[test]
fn a_wrong_profile_is_an_error_that_names_the_place() {
    let place = Place::new();
    for (profile, lines) in [
        (
            "{\n  \"url\": \"https://as.example\",\n  \"client_secret\": hunter2\n}",
            "profile ./p.json: description: not a JSON value, at line 3, column 20",
        ),
        (
            "{\n  \"url\": \"https://as.example\",\n}\n",
            "profile ./p.json: description: trailing comma, at line 2, column 30",
        ),
        (
            "{\"url\": \"https://as.example\"\n \"client_secret\": \"hunter2\"}",
            "profile ./p.json: description: a comma or a closing bracket is missing, at line 2, column 2",
        ),
        (
            "{\"url\": \"é\" x",
            "profile ./p.json: description: a comma or a closing bracket is missing, at line 1, column 13",
        ),
        ("", "profile ./p.json: description: not a JSON object, at line 1, column 1"),
        ("[]", "profile ./p.json: description: not a JSON object, at line 1, column 1"),
        ("url = 1", "profile ./p.json: description: not a JSON object, at line 1, column 1"),
        ("\"hunter2", "profile ./p.json: description: not a JSON object, at line 1, column 1"),
        (
            r#"{"url": "https://as.example", "client-id": "c"}"#,
            "profile: unknown member \"client-id\"; did you mean \"client_id\"?",
        ),
        (
            r#"{"url": "https://as.example", "status": 200}"#,
            "profile: unknown member \"status\"\n\
             hint: `keyfob help profile` lists the members",
        ),
        (
            r#"{"url": "https://as.example", "client_secret": "hunter2"}"#,
            "profile: unknown member \"client_secret\"\n\
             hint: a profile names the file of a secret: `client_secret_file`",
        ),
        (
            r#"{"url": "https://as.example", "password": "hunter2"}"#,
            "profile: unknown member \"password\"\n\
             hint: a profile names the file of a secret: `password_file`",
        ),
        (
            r#"{"url": "https://as.example", "session_token": "hunter2"}"#,
            "profile: unknown member \"session_token\"\n\
             hint: a profile names the file of a secret: `session_token_file`",
        ),
        (
            r#"{"url": "https://as.example", "refresh_token": "hunter2"}"#,
            "profile: unknown member \"refresh_token\"\n\
             hint: a profile names the file of a secret: `refresh_token_file`",
        ),
        (
            r#"{"url": "https://as.example", "access_token": "hunter2"}"#,
            "profile: unknown member \"access_token\"\n\
             hint: a profile names the file of a secret: `access_token_file`",
        ),
        (r#"{"url": 1}"#, "`url`: this must be a string"),
        (
            r#"{"url": "https://as.example", "timeout": "5x"}"#,
            "`timeout`: must be seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)",
        ),
        (
            r#"{"url": "https://as.example", "timeout": -5}"#,
            "`timeout`: must be seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)",
        ),
        (r#"{"url": "https://as.example", "timeout": 0}"#, "`timeout`: must be longer than 0 s"),
        (
            r#"{"url": "https://as.example", "lifetime": -1.5}"#,
            "`lifetime`: this must be longer than 0: seconds (30, 0.5) or a number with a unit (500ms, 5s, 2m, 1h, 1d)",
        ),
        (r#"{"url": "https://as.example", "no_cache": "no"}"#, "`no_cache`: must be true or false"),
        (r#"{"url": "https://as.example", "allow_http": 1}"#, "`allow_http`: this must be true or false"),
        (r#"{"url": "https://as.example", "format": 1}"#, "`format`: must be a string"),
        (r#"{"url": "https://as.example", "scope": 1}"#, "`scope`: must be a string or an array of strings"),
        (r#"{"url": "https://as.example", "scope": [1]}"#, "`scope`: must be a string or an array of strings"),
        (r#"{"url": "https://as.example", "client_id": ["c"]}"#, "`client_id`: must be a string"),
        (
            r#"{"url": "https://as.example", "header": {"a": 1}}"#,
            "`header.a`: this must be a string or an array of strings",
        ),
        (
            r#"{"url": "https://as.example", "param_file": "a=b"}"#,
            "`param_file`: must be an object of names with files",
        ),
        (
            r#"{"url": "https://as.example", "client_secret_file": "a", "client_secret_env": "B"}"#,
            "`client_secret_file` and `client_secret_env` are both given",
        ),
        (r#"{"environments": {"eu": "https://as.example"}}"#, "`environment`: none is chosen of eu"),
        (
            r#"{"environments": {"eu": "https://as.example", "us": "https://as.example"}, "environment": "fr"}"#,
            "`environment`: \"fr\" is none of eu, us",
        ),
        (
            r#"{"environments": [], "environment": "fr"}"#,
            "`environments`: this must be an object of names with their URLs",
        ),
    ] {
        place.file("here/p.json", profile);
        place.keyfob(["token", "./p.json"]).outcome().fails(2, &format!("keyfob: {lines}"));
    }
    place.file("here/p.json", b"{\"client_secret\": \"hunter2\xFF\"}");
    place.keyfob(["token", "./p.json"]).outcome().fails(2, "keyfob: profile ./p.json: it is not UTF-8 text");
    for (name, message) in [("./", "profile ./: is a directory"), ("./none", "profile ./none: there is no such file")] {
        place.keyfob(["token", name]).outcome().is(2, "proto = \"-all\"\n", &format!("keyfob: {message}\n"));
    }
}

#[test]
fn an_option_overrides_its_member_of_the_profile() {
    let place = Place::new();
    place.file("here/other", "other");
    let server = token_server();
    let profile = r#"{
        "url": "URL/profile",
        "client_id": "profile",
        "client_secret_file": "secret",
        "auth": "client_secret_post",
        "scope": ["profile", "too"],
        "param": {"a": ["profile", "too"], "b": "profile"},
        "param_file": {"f": "secret", "g": "secret"},
        "header": {"x-a": "profile", "x-b": "profile"},
        "lifetime": 60,
        "format": "header",
        "no_cache": true
    }"#;
    place.file("here/p.json", profile.replace("URL", &server.url("")));
    let form = "content-type: application/x-www-form-urlencoded\n";
    let url = server.url("/option");
    let headers = format!("{form}x-a: profile\nx-b: profile\n");
    let body = "grant_type=client_credentials&client_id=profile&client_secret=hunter2&scope=profile+too\
                &a=profile&a=too&b=profile&f=hunter2&g=hunter2";
    let usual = format!("POST /profile\n{headers}\n{body}");
    for (options, request) in [
        (&[][..], usual.clone()),
        (&["--url", &url], usual.replace("/profile", "/option")),
        (&["--client-id", "option"], usual.replace("client_id=profile", "client_id=option")),
        (&["--client-secret-file", "other"], usual.replace("client_secret=hunter2", "client_secret=other")),
        (&["--client-secret-env", "SECRET"], usual.replace("client_secret=hunter2", "client_secret=variable")),
        (&["--scope", "option"], usual.replace("scope=profile+too", "scope=option")),
        (&["--param", "a=option"], usual.replace("a=profile&a=too", "a=option")),
        (&["--param", "a=1", "--param", "a=2"], usual.replace("a=profile&a=too", "a=1&a=2")),
        (&["--param", "c=option"], usual.replace("&b=profile", "&b=profile&c=option")),
        (&["--param-file", "f=other"], usual.replace("&f=hunter2", "&f=other")),
        (&["--header", "x-a: option"], usual.replace("x-a: profile", "x-a: option")),
        (&["--header", "x-c: option"], usual.replace("x-b: profile\n", "x-b: profile\nx-c: option\n")),
        (
            &["--auth", "client_secret_basic", "--params", "query"],
            "POST /profile?grant_type=client_credentials&scope=profile%20too&a=profile&a=too&b=profile&f=hunter2\
             &g=hunter2\nauthorization: Basic cHJvZmlsZTpodW50ZXIy\nx-a: profile\nx-b: profile\n\n"
                .into(),
        ),
    ] {
        let before = server.requests().len();
        let run = place.keyfob([&["token", "./p.json"], options].concat()).variable("SECRET", "variable");
        run.outcome().prints("Authorization: Bearer tok-1");
        let requests = server.requests();
        assert_eq!(requests.len(), before + 1, "{options:?}");
        assert_eq!(in_order(&shown(&requests[before], &server)), in_order(&request), "{options:?}");
    }
    place.keyfob(["token", "./p.json", "--format", "token"]).outcome().prints("tok-1");
    // A secret in a variable gives way to one in a file, too.
    place
        .file("here/p.json", format!(r#"{{"url":"{}","client_id":"c","client_secret_env":"NONE"}}"#, server.url("/t")));
    place.keyfob(["token", "./p.json", "--no-cache", "--client-secret-file", "other"]).outcome().prints("tok-1");
    assert_eq!(server.requests().last().unwrap().header("authorization"), Some("Basic YzpvdGhlcg=="));
}

#[test]
fn an_environment_is_named_once_and_the_path_stays_the_same() {
    let place = Place::new();
    let server = token_server();
    let base = server.url("");
    let environments = format!(r#""environments":{{"eu":"{base}/eu/","us":"{base}/us"}},"path":"/oauth2/token""#);
    for (rest, options, target) in [
        ("", vec!["--environment", "eu"], "/eu/oauth2/token"),
        ("", vec!["--environment", "us"], "/us/oauth2/token"),
        (r#","environment":"eu""#, vec![], "/eu/oauth2/token"),
        (r#","environment":"eu""#, vec!["--environment", "us"], "/us/oauth2/token"),
        (r#","environment":"eu","url":"URL/default""#, vec![], "/default"),
        (r#","url":"URL/default""#, vec!["--environment", "us"], "/us/oauth2/token"),
        (r#","environment":"eu""#, vec!["--url", "URL/option"], "/option"),
        ("", vec!["--environment", "us", "--url", "URL/option"], "/option"),
    ] {
        let rest = rest.replace("URL", &base);
        let options: Vec<String> = options.iter().map(|option| option.replace("URL", &base)).collect();
        place.file("here/p.json", format!("{{{environments}{rest}}}"));
        let arguments = ["token", "./p.json", "--no-cache"].map(str::to_owned).into_iter().chain(options.clone());
        let before = server.requests().len();
        place.keyfob(arguments).outcome().prints("tok-1");
        let targets: Vec<String> = server.requests().into_iter().skip(before).map(|seen| seen.target).collect();
        assert_eq!(targets, [target], "{rest} {options:?}");
    }
    place.file("here/p.json", format!("{{{environments}}}"));
    place
        .keyfob(["token", "./p.json", "--environment", "fr"])
        .outcome()
        .fails(2, "keyfob: `environment`: \"fr\" is none of eu, us");
}

#[test]
fn an_option_overrides_the_header_that_a_profile_names_in_another_way() {
    let place = Place::new();
    let server = token_server();
    for (members, options, header) in [
        (r#""header_file":{"X-Key":"secret"}"#, ["--header", "X-Key: option"], "option"),
        (r#""header":{"x-key":"profile"}"#, ["--header", "X-Key: option"], "option"),
        (r#""header":{"x-key":"profile"}"#, ["--header-file", "X-Key: secret"], SENTINEL),
    ] {
        place.file("here/p.json", format!(r#"{{"url":"{}","no_cache":true,{members}}}"#, server.url("/t")));
        place.keyfob([&["token", "./p.json"], &options[..]].concat()).outcome().prints("tok-1");
        assert_eq!(server.requests().last().unwrap().header("x-key"), Some(header), "{members} {options:?}");
    }
}

#[test]
fn an_option_overrides_the_parameter_that_a_profile_names_in_another_way() {
    let place = Place::new();
    for (members, options, body) in [
        (r#""param_file":{"a":"secret"}"#, ["--param", "a=option"], "a=option"),
        (r#""param":{"a":"profile"}"#, ["--param-file", "a=secret"], "a=hunter2"),
    ] {
        let server = token_server();
        place.file("here/p.json", format!(r#"{{"url":"{}","no_cache":true,{members}}}"#, server.url("/t")));
        place.keyfob([&["token", "./p.json"], &options[..]].concat()).outcome().prints("tok-1");
        assert_eq!(server.request().body_text(), format!("grant_type=client_credentials&{body}"), "{options:?}");
    }
}

#[test]
fn a_profile_may_begin_with_a_byte_order_mark() {
    let place = Place::new();
    let server = token_server();
    place.file("here/p.json", format!("\u{FEFF}{{\"url\":\"{}\",\"no_cache\":true}}", server.url("/t")));
    place.keyfob(["token", "./p.json"]).outcome().prints("tok-1");
}

#[test]
fn an_option_says_only_its_part_of_what_a_profile_says() {
    let place = Place::new();
    let answer = r#"{"d":{"t":"tok-2","ttl":3600000},"access_token":"tok-1","expires_in":0}"#;
    let server = Server::answering(json(200, answer));
    let profile = |members: &str| format!(r#"{{"url":"{}","no_cache":true,{members}}}"#, server.url("/t"));
    // The unit and the longest life stay when only the default is said anew.
    place.file(
        "here/p.json",
        profile(
            r#""field":{"access_token":"x","expires_in":"d.ttl"},"lifetime":{"unit":"milliseconds","maximum":600}"#,
        ),
    );
    let run = place.keyfob(["token", "./p.json", "--field", "d.t", "--lifetime", "60", "--format", "json"]);
    let stdout = run.outcome().stdout;
    assert!(stdout.contains(r#""access_token":"tok-2""#), "{stdout}");
    assert!(stdout.contains(r#""expires_in":599"#) || stdout.contains(r#""expires_in":600"#), "{stdout}");
}

#[test]
fn a_dialect_on_the_command_line_sets_what_a_profile_set_otherwise() {
    let place = Place::new();
    let server = token_server();
    let members = r#""auth":"client_secret_basic","params":"json","grant":"client_credentials""#;
    place.file("here/p.json", format!(r#"{{"url":"{}","no_cache":true,{members}}}"#, server.url("/t")));
    let options = ["--dialect", "user-credentials", "--username", "u", "--password-file", "secret"];
    place.keyfob([&["token", "./p.json"], &options[..]].concat()).outcome().prints("tok-1");
    let seen = server.request();
    assert_eq!((seen.target.as_str(), seen.header("authorization")), ("/t?username=u&password=hunter2", None));
    place.file("here/q.json", format!(r#"{{"url":"{}","no_cache":true,"params":"json"}}"#, server.url("/t")));
    place.keyfob(["token", "./q.json", "--method", "GET"]).outcome().prints("tok-1");
    assert_eq!(server.requests()[1].target, "/t?grant_type=client_credentials");
}
