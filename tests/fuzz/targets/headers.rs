//! The headers that keyfob reads: Retry-After with Date, Location, Content-Type. Whatever they hold, nothing panics, what
//! is shown is one line, and a wait is bounded. (keyfob reads no WWW-Authenticate.)

#![no_main]

use keyfob::{Client, Endpoint, Grant, Request, Response, TokenCache};
use keyfob_fuzz::{Input, shown};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

const STATUSES: [u16; 10] = [429, 503, 301, 302, 303, 307, 308, 200, 400, 500];
const NOW: Duration = Duration::from_secs(1000);
/// A server's longest wait is a day; a fleet returns over a quarter of it more.
const LONGEST: Duration = Duration::from_secs(24 * 3600 * 5 / 4);

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let status = *input.pick(&STATUSES);
    let how = input.byte();
    let (retry_after, date, location) = match how & 3 {
        0 => (input.text(), input.text(), input.text()),
        // Two dates of which the distance is known.
        1 => (date(number(&mut input)), date(number(&mut input)), input.text()),
        2 => (number(&mut input).to_string(), input.text(), input.text()),
        _ => (date(number(&mut input)), input.text(), input.text()),
    };
    let (content_type, body) = (input.text(), input.rest().to_vec());

    let headers = [&retry_after, &date, &location, &content_type].map(String::clone);
    let server = move |_: &Request| {
        let names = ["retry-AFTER", "Date", "Location", "Content-Type"];
        let response = Response::new(status, body.clone()).with_framed(how & 4 != 0);
        Ok(names.iter().zip(&headers).fold(response, |response, (name, value)| response.with_header(name, value)))
    };
    let endpoint = Endpoint::new("https://as.example/token").expect("this is a URL");
    let client = Client::with_parts(endpoint, server, || NOW);
    let mut tokens = TokenCache::new(client, Grant::client_credentials());
    let Err(error) = tokens.token() else { return };
    // User information and a query may hold a secret.
    let place = location.split(['?', '#']).next().unwrap_or_default();
    let user = match place.split_once("//").filter(|(before, _)| before.is_empty() || before.ends_with(':')) {
        Some((before, _)) if before.contains('@') => before.rsplit_once('@'),
        // A path is shown as it is, and may look like a URL itself.
        Some((_, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            authority.rsplit_once('@').filter(|_| !path.contains('@'))
        }
        None => place.rsplit_once('@').filter(|_| !place.starts_with('/')),
    };
    shown(&error, 700);
    if let Some(named) = error.hint().and_then(|hint| hint.strip_prefix("it names ")?.split_once("; if that is")) {
        let query = location.strip_prefix(place).filter(|query| query.len() > 1);
        assert!(query.is_none_or(|query| !named.0.contains(query)), "{location:?}: {named:?}");
        assert!(user.is_none_or(|(user, _)| !named.0.contains(&format!("{user}@"))), "{location:?}: {named:?}");
    }
    assert!(matches!(status, 429 | 503) || error.retry_after().is_none(), "status {status}");
    if let (0 | 1, 429 | 503) = (status % 2, status) {
        check_wait(how & 3, &retry_after, &date, error.retry_after());
    }
    let next = tokens.next_attempt().expect("there was a failure");
    assert!(next <= NOW + LONGEST, "{next:?}");
    // Nobody who asks again is let through sooner, and none is told more than a day.
    let again = tokens.token().expect_err("the server is left alone");
    shown(&again, 900);
    assert!(again.retry_after().is_some_and(|wait| wait <= LONGEST), "{:?}", again.retry_after());
});

fn check_wait(how: u8, retry_after: &str, date: &str, wait: Option<Duration>) {
    let expected = match how {
        1 => Duration::from_secs(seconds(retry_after).saturating_sub(seconds(date))),
        2 => Duration::from_secs(retry_after.parse().expect("a number")),
        _ => return,
    };
    assert_eq!(wait, Some(expected), "{retry_after} at {date}");
}

fn number(input: &mut Input<'_>) -> u64 {
    // From 1970 to the end of the year 9999.
    (0..5).fold(0, |number, _| number << 8 | u64::from(input.byte())) % 253_402_300_800
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn year_length(year: u64) -> u64 {
    if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) { 366 } else { 365 }
}

fn month_length(year: u64, month: usize) -> u64 {
    [31, year_length(year) - 337, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month]
}

/// A moment as HTTP writes it, counted out year by year.
fn date(seconds: u64) -> String {
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(days % 7) as usize];
    let (mut year, mut month) = (1970 + days / 146_097 * 400, 0);
    days %= 146_097;
    while days >= year_length(year) {
        days -= year_length(year);
        year += 1;
    }
    while days >= month_length(year, month) {
        days -= month_length(year, month);
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{weekday}, {:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT", days + 1, MONTHS[month])
}

fn seconds(date: &str) -> u64 {
    let part = |from: usize, to: usize| date[from..to].parse::<u64>().expect("a number");
    let (year, month) = (part(12, 16), MONTHS.iter().position(|month| *month == &date[8..11]).expect("a month"));
    let years: u64 = (1970 + (year - 1970) / 400 * 400..year).map(year_length).sum();
    let months: u64 = (0..month).map(|month| month_length(year, month)).sum();
    let days = (year - 1970) / 400 * 146_097 + years + months + part(5, 7) - 1;
    days * 86_400 + part(17, 19) * 3600 + part(20, 22) * 60 + part(23, 25)
}
