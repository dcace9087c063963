//! `keyfob probe`: what it tells of each server, and that it tells no secret and stores nothing.

use crate::proxy::Proxy;
use crate::*;

const GOOD: &str = r#"{"access_token":"hunter2-token","token_type":"Bearer","expires_in":3600}"#;

/// The report of a probe, with HOST for the server's address, and its exit code. No report has a secret, and nothing is stored.
#[track_caller]
fn report(place: &Place, url: &str, options: &[&str]) -> (i32, String) {
    let host = url.split_once("://").unwrap().1.split('/').next().unwrap().to_owned();
    let own = ["probe", "--url", url, "--client-id", "c", "--client-secret-file", "secret"];
    let outcome = place.keyfob([&own, options].concat()).outcome();
    assert_eq!(outcome.stderr, "", "{outcome:?}");
    assert_eq!(std::fs::read_dir(place.path("cache")).unwrap().count(), 0, "something is stored");
    let text = outcome.stdout.replace(&host, "HOST").replace(&place.path("cache"), "CACHE");
    (outcome.code.unwrap(), text)
}

/// The rows of a report that have one of these names.
fn rows(text: &str, names: &[&str]) -> String {
    let mut is_wanted = false;
    let lines = text.lines().filter(|line| {
        if !line.starts_with(' ') {
            is_wanted = names.iter().any(|name| line.starts_with(&format!("{name:20}")));
        }
        is_wanted
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_good_server_is_told_whole() {
    let place = Place::new();
    let date = "Date: Thu, 01 Jan 2015 00:00:00 GMT";
    let server = Server::answering(answer(200, &["Content-Type: application/json", date], GOOD));
    let (code, text) = report(&place, &server.url("/t?key=hunter2"), &["--scope", "read"]);
    let (before, clock) = text.split_once("clock").unwrap();
    let (clock, after) = clock.split_once('\n').unwrap();
    assert!(
        clock.starts_with("               this device's is ") && clock.ends_with(" days ahead of the server's"),
        "{clock}"
    );
    assert_eq!(
        (code, before),
        (
            0,
            "request             POST http://HOST/t\n\
             request headers     Accept, User-Agent, Content-Type, Authorization\n\
             parameters          key, grant_type, scope\n\
             proxy               none\n\
             addresses           HOST\n\
             connected           HOST\n\
             status              200\n\
             answer              JSON, 72 bytes, application/json\n\
             answer headers      Content-Type, Date, content-length\n\
             members             access_token: string of 13\n\
             \x20                   token_type: string of 6\n\
             \x20                   expires_in: number\n"
        )
    );
    assert_eq!(
        after,
        "cache               CACHE\n\
         lifetime            3600 s, the answer has `expires_in`\n\
         result              a token\n"
    );
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn json_has_the_same_facts() {
    let place = Place::new();
    let server = Server::answering(json(200, r#"{"access_token":"hunter2-token",}"#));
    let (code, text) = report(&place, &server.url("/t"), &["--format", "json"]);
    assert_eq!(
        (code, text.as_str()),
        (
            0,
            "{\"request\":\"POST http://HOST/t\",\"request_headers\":[\"Accept\",\"User-Agent\",\"Content-Type\",\"Authorization\"],\
             \"parameters\":[\"grant_type\"],\"proxy\":\"none\",\"addresses\":[\"HOST\"],\"connected\":\"HOST\",\"status\":200,\
             \"answer\":\"JSON, 33 bytes, application/json\",\"answer_headers\":[\"content-type\",\"content-length\"],\
             \"members\":[\"access_token: string of 13\"],\
             \"tolerated\":[\"trailing-comma: a trailing comma in an object or array\",\"token-type-missing: no `token_type`: Bearer\"],\
             \"clock\":\"the answer has no `Date` to compare with\",\"cache\":\"CACHE\",\
             \"lifetime\":\"unknown: the token is never stored\",\"result\":\"a token\",\"profile\":[\"\\\"lifetime\\\": 3600\"]}\n"
        )
    );
    let options = ["probe", "--url", &server.url("/t"), "--format", "curl"];
    place.keyfob(options).outcome().fails_and_stops_curl(
        2,
        "keyfob: usage: probe: --format must be json, or left out for a text\n\
         hint: `keyfob help` lists the commands and options",
    );
}

#[test]
fn each_tolerance_is_told_by_its_name() {
    let place = Place::new();
    let page = include_str!("../../src/docs/tolerances.md");
    let table = include_str!("../../src/bin/keyfob/probe/answer.rs")
        .split_once("= &[\n")
        .unwrap()
        .1
        .split_once("];")
        .unwrap()
        .0;
    let known: Vec<&str> =
        table.lines().map(|line| line.trim().trim_start_matches("(\"").split('"').next().unwrap()).collect();
    assert!(known.len() > 30);
    for class in &known {
        assert!(page.split(['|', ',', ' ']).any(|word| word == *class), "{class}");
    }
    let mut seen = Vec::new();
    let good = |members: &str| format!(r#"{{"access_token":"hunter2-token","token_type":"Bearer"{members}}}"#);
    const JSON: &str = "application/json";
    for (status, content_type, body, expected) in [
        (200, JSON, good(r#","expires_in":60,"scope":"a","extra":{"a":[1,{"b":null}]}"#), &[][..]),
        (200, "application/json; charset=utf-8", good(""), &[]),
        (200, JSON, good(","), &["trailing-comma"]),
        (200, JSON, good(r#","extra":[1,]"#), &["trailing-comma"]),
        (200, JSON, good(r#","expires_in":" 60 ""#), &["string-number-expiry"]),
        (200, JSON, good(r#","expires_in":60.5"#), &["float-expiry"]),
        (200, JSON, good(r#","expires_in":"6e1""#), &["string-number-expiry", "float-expiry"]),
        (200, JSON, good(r#","expires_in":null"#), &["null-expiry"]),
        (200, JSON, good(r#","expires_in":"""#), &["empty-string-expiry"]),
        (200, JSON, good(r#","expires_in":"soon""#), &["bad-type-expiry"]),
        (200, JSON, good(r#","expires_in":[]"#), &["bad-type-expiry"]),
        (200, JSON, good(r#","expires_in":99999999"#), &["huge-expiry"]),
        (200, JSON, good(r#","expires_in":1767225600"#), &["epoch-expiry"]),
        (200, JSON, format!("\u{FEFF}{}", good("")), &["bom"]),
        (200, JSON, format!("\r\n{}\r\n", good("")), &["crlf-whitespace"]),
        (201, JSON, good(""), &["other-2xx"]),
        (200, "", good(""), &["content-type"]),
        (200, "application/vnd.x+json", good(""), &["content-type"]),
        (200, "text/plain", good(""), &["json-as-text"]),
        (200, "text/html", good(""), &["json-as-html-type"]),
        (200, "application/x-www-form-urlencoded", good(""), &["json-form-mismatch"]),
        (200, "application/x-www-form-urlencoded", "access_token=hunter2&expires_in=60".into(), &["form-success"]),
        (200, JSON, r#"{"access_token":"hunter2","token_type":"BEARER"}"#.into(), &["token-type-case"]),
        (200, JSON, r#"{"access_token":"hunter2"}"#.into(), &["token-type-missing"]),
        (200, JSON, r#"{"access_token":"hunter2","token_type":null}"#.into(), &["token-type-bad"]),
        (200, JSON, r#"{"access_token":"hunter2","token_type":"BearerToken"}"#.into(), &["token-type-odd"]),
        (200, JSON, r#"{"access_token":"hunter2!","token_type":"bearer"}"#.into(), &["token-visible-nonb64"]),
        (200, JSON, r#"{"access_token":"hunter2\/","token_type":"bearer"}"#.into(), &["token-escapes"]),
        (200, JSON, r#"{"access\u005ftoken":"hunter2","token_type":"bearer"}"#.into(), &["escaped-key"]),
        (200, JSON, good(r#","refresh_token":null"#), &["refresh-odd"]),
        (200, JSON, good(r#","scope":null"#), &["scope-null-empty"]),
        (200, JSON, good(r#","scope":["a"]"#), &["scope-array"]),
        (200, JSON, good(r#","scope":7"#), &["scope-bad-type"]),
        (200, JSON, good(r#","error":"""#), &["null-error-fields"]),
        (200, JSON, r#"{"error":"invalid_client"}"#.into(), &["error-200"]),
        (404, JSON, r#"{"error":"invalid_client"}"#.into(), &["error-other-status"]),
        (400, JSON, r#"{"error":400}"#.into(), &["error-nonstring"]),
    ] {
        let content_type =
            if content_type.is_empty() { String::new() } else { format!("content-type: {content_type}") };
        let headers: Vec<&str> = Some(&*content_type).filter(|line| !line.is_empty()).into_iter().collect();
        let server = Server::answering(answer(status, &headers, &body));
        let (_, text) = report(&place, &server.url("/t"), &[]);
        let told = rows(&text, &["tolerated"]);
        let told: Vec<&str> = told.lines().map(|line| line[20..].split(':').next().unwrap()).collect();
        assert_eq!(told, expected, "{body}\n{text}");
        seen.extend(told.into_iter().map(str::to_owned));
    }
    let mut invalid = good(r#","x":"?""#).into_bytes();
    let at = invalid.iter().position(|byte| *byte == b'?').unwrap();
    invalid[at] = 0xFF;
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", invalid.len());
    let server = Server::answering([head.as_bytes(), &invalid].concat());
    let (_, text) = report(&place, &server.url("/t"), &[]);
    assert_eq!(rows(&text, &["tolerated"]), "tolerated           invalid-utf8: bytes that are not UTF-8\n");
    seen.push("invalid-utf8".to_owned());
    let missing: Vec<_> = known.iter().filter(|class| !seen.iter().any(|seen| seen == *class)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn each_failure_ends_with_what_was_learnt() {
    let place = Place::new();
    const ROWS: &[&str] = &["connected", "status", "answer", "result", "message", "hint", "retry after s", "profile"];
    for (bytes, code, expected) in [
        (
            json(401, r#"{"error":"invalid_client","error_description":"wrong: hunter2"}"#),
            3,
            "status              401\n\
             answer              JSON, 63 bytes, application/json\n\
             result              refused\n\
             message             the server refused (status 401): invalid_client (‹redacted›)\n\
             HINT\
             profile             \"auth\": \"client_secret_post\"\n\
             \x20                   \"basic_raw\": true\n",
        ),
        (
            answer(200, &["content-type: text/html"], "<html>hunter2</html>"),
            5,
            "status              200\n\
             answer              HTML or XML, 20 bytes, text/html\n\
             result              unusable\n\
             message             the answer is no token response: the body is HTML or XML, not JSON\n\
             HINT",
        ),
        (
            answer(302, &["location: https://login.example/hunter2?x=hunter2"], ""),
            5,
            "status              302\n\
             answer              empty, 0 bytes, no content type\n\
             result              unusable\n\
             message             the server redirects (status 302), and credentials are not sent after it\n\
             HINT",
        ),
        (
            json(500, r#"{"message":"broken"}"#),
            5,
            "status              500\n\
             answer              JSON, 20 bytes, application/json\n\
             result              unusable\n\
             message             the server answered with status 500: broken\n\
             HINT",
        ),
        (
            answer(503, &["retry-after: 7"], ""),
            6,
            "status              503\n\
             answer              empty, 0 bytes, no content type\n\
             result              wait\n\
             message             the server asks to wait (status 503)\n\
             HINT\
             retry after s       7\n",
        ),
        (
            answer(405, &[], ""),
            5,
            "status              405\n\
             answer              empty, 0 bytes, no content type\n\
             result              unusable\n\
             message             the server answered with status 405\n\
             HINT\
             profile             \"method\": \"GET\"\n",
        ),
        (
            json(400, r#"{"error":"unsupported_grant_type"}"#),
            3,
            "status              400\n\
             answer              JSON, 34 bytes, application/json\n\
             result              refused\n\
             message             the server refused (status 400): unsupported_grant_type\n\
             HINT\
             profile             \"params\": \"json\"\n",
        ),
        (
            answer(415, &[], ""),
            5,
            "status              415\n\
             answer              empty, 0 bytes, no content type\n\
             result              unusable\n\
             message             the server answered with status 415\n\
             HINT\
             profile             \"params\": \"json\"\n",
        ),
        (
            json(200, r#"{"data":{"accessToken":"hunter2hunter2","hunter2":1},"success":true}"#),
            5,
            "status              200\n\
             answer              JSON, 68 bytes, application/json\n\
             result              unusable\n\
             message             the answer is no token response: there is no access token\n\
             HINT\
             profile             \"field\": \"data.accessToken\"\n",
        ),
        (
            json(200, r#"{"success":false,"message":"no"}"#),
            5,
            "status              200\n\
             answer              JSON, 32 bytes, application/json\n\
             result              unusable\n\
             message             the answer is no token response: there is no access token\n\
             HINT\
             profile             \"refused_if\": {\"success\": false}\n",
        ),
        (
            answer(201, &["X-Subject-Token: hunter2", "content-type: application/json"], "{}"),
            5,
            "status              201\n\
             answer              JSON, 2 bytes, application/json\n\
             result              unusable\n\
             message             the answer is no token response: there is no access token\n\
             HINT\
             profile             \"field\": \"header:X-Subject-Token\"\n",
        ),
    ] {
        let server = Server::answering(bytes);
        let (found, text) = report(&place, &server.url("/t"), &[]);
        let told = rows(&text, ROWS);
        let hint = rows(&text, &["hint"]);
        let expected = format!("connected           HOST\n{}", expected.replace("HINT", &hint));
        assert_eq!((found, told), (code, expected), "{text}");
    }
}

#[test]
fn without_an_answer_it_tells_how_far_it_came() {
    let place = Place::new();
    const ROWS: &[&str] = &["proxy", "addresses", "connected", "status", "answer", "result", "message"];
    let told = |url: &str, options: &[&str]| {
        let (code, text) = report(&place, url, options);
        (code, rows(&text, ROWS))
    };
    let refusing = Refusing::new();
    let expected = "proxy               none\n\
        addresses           HOST\n\
        connected           no\n\
        answer              none\n\
        result              unreachable\n\
        message             no connection to HOST: connection refused\n";
    assert_eq!(told(&format!("http://{}/t", refusing.address()), &[]), (4, expected.to_owned()));

    let silent = Server::with(|_, _| std::thread::sleep(Duration::from_secs(2)));
    let expected = "proxy               none\n\
        addresses           HOST\n\
        connected           HOST\n\
        answer              none\n\
        result              outcome_unknown\n\
        message             no complete answer from HOST within 0.3 s\n";
    assert_eq!(told(&silent.url("/t"), &["--timeout", "0.3"]), (4, expected.to_owned()));

    let closing = Server::with(|_, _| {});
    let (code, text) = told(&closing.url("/t"), &[]);
    assert!(
        code == 4
            && text
                .contains("connected           HOST\nanswer              none\nresult              outcome_unknown\n"),
        "{text}"
    );

    let expected = "proxy               none\n\
        connected           no\n\
        answer              none\n\
        result              unreachable\n\
        message             the name HOST was not found\n";
    assert_eq!(told("http://as.invalid/t", &["--allow-http"]), (4, expected.to_owned()));

    let proxy = Proxy::new(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=hunter2\r\n\r\n");
    let (code, text) = told("http://as.invalid/t", &["--allow-http", "--proxy", &proxy.url()]);
    let address = proxy.url().replace("http://", "");
    let expected = format!(
        "proxy               http://{address}\naddresses           {address}\nconnected           {address}\nanswer              none\n\
         result              refused\nmessage             the proxy wants other credentials\n"
    );
    assert_eq!((code, text), (3, expected));
}

#[test]
fn the_profile_lines_are_those_that_help() {
    let place = Place::new();
    let token = |members: &str| format!(r#"{{"access_token":"hunter2-token","token_type":"Bearer"{members}}}"#);
    for (body, lifetime, line) in [
        (token(r#","expires_in":3600"#), "3600 s, the answer has `expires_in`", ""),
        (token(""), "unknown: the token is never stored", r#""lifetime": 3600"#),
        (token(r#","expires_in":0"#), "one use: the server says 0 s or less", r#""lifetime": 3600"#),
        (
            token(r#","expiresIn":3600"#),
            "unknown: the token is never stored",
            r#""field": {"expires_in": "expiresIn"}"#,
        ),
        (
            token(r#","expires_at":"2026-01-01T01:00:00Z""#),
            "unknown: the token is never stored",
            r#""field": {"expires_at": "expires_at"}"#,
        ),
        (
            token(r#","meta":{"expires":1767229200}"#),
            "unknown: the token is never stored",
            r#""field": {"expires_at": "meta.expires"}"#,
        ),
        (
            token(r#","expires_in":1767229200"#),
            "unknown: what the server says is not believed",
            r#""field": {"expires_at": "expires_in"}"#,
        ),
        (
            r#"{"access_token":"hunter2-token","token_type":"Zoho","expires_in":60}"#.to_owned(),
            "60 s, the answer has `expires_in`",
            r#""api": "Authorization: Zoho {token}""#,
        ),
        (
            r#"{"access_token":"hunter2-token","token_type":"DPoP","expires_in":60}"#.to_owned(),
            "60 s, the answer has `expires_in`",
            "",
        ),
    ] {
        let server = Server::answering(answer(
            200,
            &["content-type: application/json", "date: Thu, 01 Jan 2026 00:00:00 GMT"],
            &body,
        ));
        let (code, text) = report(&place, &server.url("/t"), &[]);
        let expected = format!("lifetime            {lifetime}\n");
        assert_eq!((code, rows(&text, &["lifetime"])), (0, expected), "{body}");
        let advice = rows(&text, &["profile"]);
        let expected = if line.is_empty() { String::new() } else { format!("profile             {line}\n") };
        assert_eq!(advice, expected, "{body}");
        if line.is_empty() {
            continue;
        }
        // With the line the profile can be read, and the line is no longer needed.
        let (start, url) = (format!("{{\"client_id\": \"c\", {line}, \"url\": "), server.url("/t"));
        place.file("here/better.json", format!("{start}\"{url}\"}}"));
        let outcome = place.keyfob(["probe", "./better.json"]).outcome();
        assert_eq!((outcome.code, rows(&outcome.stdout, &["profile"]).as_str()), (Some(0), ""), "{outcome:?}");
    }
}

#[test]
fn a_clock_that_is_wrong_is_told() {
    let place = Place::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    for (offset, expected) in [
        (0, "agrees with the server's"),
        (86_400, "this device's is 24 h behind the server's"),
        (-86_400, "this device's is 24 h ahead of the server's"),
        (-600, "this device's is 10 min ahead of the server's"),
        (31 * 86_400, "this device's is 31 days behind the server's"),
    ] {
        // Any of the forms of a date will do: this one has no weekday that could be wrong.
        let date = date_of(now + offset);
        let server =
            Server::answering(answer(200, &["content-type: application/json", &format!("date: {date}")], GOOD));
        let (_, text) = report(&place, &server.url("/t"), &[]);
        assert_eq!(rows(&text, &["clock"]), format!("clock               {expected}\n"), "{date}");
    }
}

/// An HTTP date (RFC 9110 section 5.6.7).
fn date_of(time: i64) -> String {
    const MONTHS: [(&str, i64); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    let (mut days, second) = (time / 86_400, time % 86_400);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(days % 7) as usize];
    let is_leap = |year: i64| year % 4 == 0;
    let mut year = 1970;
    while days >= 365 + i64::from(is_leap(year)) {
        days -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let mut name = "";
    for (month, length) in MONTHS {
        let length = length + i64::from(month == "Feb" && is_leap(year));
        name = month;
        if days < length {
            break;
        }
        days -= length;
    }
    format!(
        "{weekday}, {:02} {name} {year} {:02}:{:02}:{:02} GMT",
        days + 1,
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[test]
#[cfg(feature = "tls")]
fn the_certificate_is_told_even_if_it_is_not_trusted() {
    let place = Place::new();
    place.file("here/ca.pem", serving::CA);
    const ROWS: &[&str] = &["tls", "certificate subject", "certificate issuer", "status", "answer", "result"];
    for (pair, versions, options, code, expected) in [
        (
            serving::VALID,
            &[&rustls::version::TLS13],
            &["--ca-file", "ca.pem"][..],
            0,
            "tls                 TLS 1.3\ncertificate subject CN=valid\ncertificate issuer  CN=ca\nstatus              200\n\
             answer              JSON, 66 bytes, no content type\nresult              a token\n",
        ),
        (
            serving::VALID,
            &[&rustls::version::TLS12],
            &["--ca-file", "ca.pem"],
            0,
            "tls                 TLS 1.2\ncertificate subject CN=valid\ncertificate issuer  CN=ca\nstatus              200\n\
             answer              JSON, 66 bytes, no content type\nresult              a token\n",
        ),
        (
            serving::VALID,
            &[&rustls::version::TLS13],
            &[],
            7,
            "certificate subject CN=valid\ncertificate issuer  CN=ca\nanswer              none\nresult              untrusted\n",
        ),
        (
            serving::EXPIRED,
            &[&rustls::version::TLS13],
            &["--ca-file", "ca.pem"],
            7,
            "certificate subject CN=expired\ncertificate issuer  CN=ca\nanswer              none\nresult              untrusted\n",
        ),
    ] {
        let config = serving::config(pair, versions);
        let token = answer(200, &[], r#"{"access_token":"hunter2","token_type":"Bearer","expires_in":3600}"#);
        let server = serving::server(config, move |_, stream| drop(stream.write_all(&token)));
        let (found, text) = report(&place, &server.url("/t"), options);
        assert_eq!((found, rows(&text, ROWS).as_str()), (code, expected), "{text}");
        let end = rows(&text, &["certificate end"]);
        assert!(end.starts_with("certificate end     2") && end.ends_with(" UTC\n") && end.len() == 44, "{end}");
        if code == 7 && !options.is_empty() {
            let minute = &end[20..36];
            assert!(text.contains(&format!("it ended {minute} UTC")), "{text}");
        }
    }
}

#[test]
fn no_member_or_header_shows_what_it_holds() {
    let place = Place::new();
    let body = r#"{"hunter2":1,"d567f3e0d2245a8d56":"x","a b":2,"sé":{"deep":[{"hunter2":"hunter2"}]},"long_long_long_long_long_long_name":1}"#;
    let server = Server::answering(answer(200, &["content-type: hunter2/x", "hunter2: a", "X-Ok: hunter2"], body));
    let (code, text) = report(&place, &server.url("/t"), &[]);
    assert_eq!(code, 5);
    let expected = "answer              JSON, 124 bytes, an odd content type\n\
        members             ‹redacted›\n\
        \x20                   ‹18 bytes›: string of 1\n\
        \x20                   ‹3 bytes›: number\n\
        \x20                   ‹3 bytes›: object\n\
        \x20                   ‹3 bytes›.deep: array\n\
        \x20                   ‹3 bytes›.deep.0: object\n\
        \x20                   ‹redacted›\n\
        \x20                   ‹34 bytes›: number\n";
    assert_eq!(rows(&text, &["answer", "members"]), expected);
    let listed = Server::answering(json(200, r#"{"access_token":"to_be_hidden","sessions":{"to_be_hidden":1}}"#));
    let (_, listing) = report(&place, &listed.url("/t"), &[]);
    assert!(!listing.contains("to_be_hidden") && listing.contains("                    ‹redacted›\n"), "{listing}");
    let query = ["probe", "--url", &server.url("/t?{key}=1&b={key}"), "--var-file", "key=secret"];
    let told = rows(&place.keyfob(query).outcome().stdout, &["request", "parameters"]);
    let expected = format!("request             POST http://{}/t\n", server.address());
    assert_eq!(told.lines().last().unwrap().replace(", ", " "), "parameters          b grant_type");
    assert!(told.starts_with(&expected), "{told}");
    assert_eq!(rows(&text, &["answer headers"]), "answer headers      content-type, X-Ok, content-length\n");
}

#[test]
fn it_keeps_to_what_can_be_undone() {
    let place = Place::new();
    let server = token_server();
    let url = server.url("/t");
    let run = place.keyfob(["probe", "--url", &url, "--grant", "refresh_token", "--refresh-token-env", "R"]);
    run.variable("R", SENTINEL).outcome().fails(
        2,
        "keyfob: probe: the server may hand out a new refresh token, and probe stores nothing\n\
         hint: put the refresh token into a file, which is rewritten (--refresh-token-file)",
    );
    assert!(server.requests().is_empty());
    // A bearer session is ended.
    let options = ["probe", "--url", &url, "--dialect", "bearer-session", "--session-token-file", "secret"];
    let outcome = place.keyfob(options).outcome();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let methods: Vec<String> = server.requests().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["GET", "DELETE"]);
    // Nor does a fault of the configuration come with a report.
    if cfg!(feature = "tls") {
        let roots = place.keyfob(["probe", "--url", "https://127.0.0.1:9/t", "--ca-file", "none"]).outcome();
        roots.fails(2, "keyfob: trusted roots: none: there is no such file");
    }
    // A missing secret is said as always, for nothing was learnt.
    let missing = place.keyfob(["probe", "--url", &url, "--client-id", "c", "--client-secret-file", "none"]).outcome();
    assert_eq!((missing.code, missing.stdout.as_str()), (Some(2), ""), "{missing:?}");
}

#[test]
fn the_cache_is_named_or_why_there_is_none() {
    let place = Place::new();
    let server = token_server();
    let (url, open) = (server.url("/t"), place.path("here"));
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (options, expected) in [
        (&["--cache-dir", "../cache"][..], "../cache".to_owned()),
        (&["--no-cache"], "turned off (--no-cache)".to_owned()),
        (
            &["--cache-dir", &open],
            format!("none: cache directory {open}: not this user's, or open to others: chmod 700 {open}"),
        ),
        (&["--cache-dir", "a/b"], "none: cache directory a/b: there is no such file".to_owned()),
    ] {
        let outcome = place.keyfob([&["probe", "--url", &url], options].concat()).outcome();
        let told = rows(&outcome.stdout, &["cache"]);
        assert_eq!((outcome.code, told), (Some(0), format!("cache               {expected}\n")), "{outcome:?}");
    }
}

#[test]
fn a_failure_in_json_has_the_error_and_no_secret() {
    let place = Place::new();
    let body = r#"{"error":"invalid_client","error_description":"hunter2","hunter2":"hunter2"}"#;
    let server = Server::answering(json(400, body));
    let (code, text) = report(&place, &server.url("/t"), &["--format", "json"]);
    assert_eq!(code, 3);
    let message = "\"result\":\"refused\",\"message\":\"the server refused (status 400): invalid_client (‹redacted›)\"";
    assert!(text.contains(message) && text.contains("\"profile\":[\"\\\"auth\\\": "), "{text}");
}
