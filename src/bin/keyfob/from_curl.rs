//! `keyfob from-curl`: turns a curl command line on standard input into a profile and files of its secrets.

mod line;
mod parameters;
mod shell;

use crate::arguments::{Arguments, Verb};
use crate::format::Format;
use crate::output;
use crate::profile::place_for;
use crate::settings::Settings;
use keyfob::{Error, ErrorKind, Request, Response, Secret};
use line::{Data, Line, wrong};
use miniserde::json::{self, Object, Value};
use parameters::{Parameter, add, has, has_secret, has_secret_member, is_secret, joined, of_form, of_json, take};
use shell::{VARIABLE, VARIABLE_END};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub(crate) fn run(arguments: &Arguments) -> Result<(), Error> {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().map(fs::File::from);
    let stdin = stdin.map_err(|_| wrong("standard input cannot be read"))?;
    let text = Secret::read_from(stdin, "standard input")?;
    let line = Line::read(text.expose())?;
    let name = match arguments.options.get("name") {
        Some(Value::String(name)) => name.clone(),
        _ => host(&line.url).to_owned(),
    };
    let path = place_for(&name)?;
    let mut draft = Draft::new(&path);
    let notes = line.notes.clone();
    draft.fill(line)?;
    draft.write(&path)?;
    for note in notes {
        output::note(&format!("keyfob: from-curl: {note}"));
    }
    for (file, _) in &draft.secrets {
        output::note(&format!("keyfob: from-curl: a secret is in {}", draft.directory.join(file).display()));
    }
    output::line(&path.display().to_string())
}

/// The new profile, and the files that it names.
struct Draft {
    directory: PathBuf,
    /// The name of the profile, which is also the start of the names of its secrets.
    stem: String,
    members: Vec<(String, Value)>,
    secrets: Vec<(String, String)>,
    /// Whether a secret is in an environment variable, so that the profile cannot be tried here.
    has_variable: bool,
}

impl Draft {
    fn new(path: &Path) -> Self {
        Self {
            directory: path.parent().unwrap_or(Path::new("/")).to_owned(),
            stem: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            members: Vec::new(),
            secrets: Vec::new(),
            has_variable: false,
        }
    }

    fn fill(&mut self, mut line: Line) -> Result<(), Error> {
        let content_type = take_header(&mut line.headers, "content-type");
        let joined = joined(&line.data, line.is_json);
        let has_json_type = content_type.as_ref().is_some_and(|value| value.to_ascii_lowercase().contains("json"));
        // Some documentation omits the header.
        let is_json = line.is_json || has_json_type || joined.trim_start().starts_with('{');
        let has_data = !line.data.is_empty() && !line.is_query;
        let method = line.method.take().unwrap_or(if has_data { "POST" } else { "GET" }.to_owned());
        let (url, query) = line.url.split_once('?').unwrap_or((&line.url, ""));
        let mut parameters = Vec::new();
        let (params, url) = if has_data {
            if has_secret(query)? {
                return Err(wrong("a secret in the URL beside parameters in the body cannot be expressed"));
            }
            parameters = if is_json { of_json(&joined)? } else { of_form(&line.data)? };
            (if is_json { "json" } else { "form" }, line.url.as_str())
        } else {
            parameters.extend(of_form(&[Data::Raw(query.to_owned())])?);
            if line.is_query {
                parameters.extend(of_form(&line.data)?);
            }
            ("query", url)
        };
        self.set_text("url", plain(url)?);
        self.set_text("method", method);
        if method_is_get(&self.members) && params != "query" {
            return Err(wrong("a GET request with a body cannot be expressed"));
        }
        self.set_text("params", params.to_owned());
        self.set_client(line.user.take(), &mut parameters)?;
        self.set_grant(&mut parameters)?;
        self.set_parameters(parameters)?;
        if let Some(value) = content_type {
            let usual = if is_json { "application/json" } else { "application/x-www-form-urlencoded" };
            if has_data && value != usual {
                line.headers.push(("Content-Type".to_owned(), value));
            }
        } else if has_data && is_json && !line.is_json {
            output::note("keyfob: from-curl: the body is JSON, so it is sent as application/json");
        }
        self.set_headers(line.headers)?;
        for (member, value) in line.members {
            self.set_text(member, plain(&value)?);
        }
        Ok(())
    }

    /// Sets the client authentication: `-u`, or client id and secret among the parameters.
    fn set_client(&mut self, user: Option<String>, parameters: &mut Vec<Parameter>) -> Result<(), Error> {
        let Some(user) = user else {
            let has_both = ["client_id", "client_secret"].iter().all(|name| has(parameters, name));
            if has_both {
                self.set_text("auth", "client_secret_post".to_owned());
                let id = take(parameters, "client_id");
                self.set_text("client_id", plain(&id.unwrap_or_default())?);
                let secret = take(parameters, "client_secret").unwrap_or_default();
                return self.set_secret("client_secret", secret);
            }
            self.set_text("auth", "none".to_owned());
            return Ok(());
        };
        let Some((id, secret)) = user.split_once(':') else {
            return Err(wrong(
                "--user: the password is missing, which curl would ask for; write it here: -u ID:SECRET",
            ));
        };
        self.set_text("auth", "client_secret_basic".to_owned());
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '*');
        // curl does not encode them; without other characters the result is the same.
        if !user.chars().all(|c| is_plain(c) || c == ':') {
            self.members.push(("basic_raw".to_owned(), Value::Bool(true)));
        }
        if secret.is_empty() {
            // An id without a secret identifies the client: it is a key.
            self.set_text("client_secret", String::new());
            return self.set_secret("client_id", id.to_owned());
        }
        self.set_text("client_id", plain(id)?);
        self.set_secret("client_secret", secret.to_owned())
    }

    fn set_grant(&mut self, parameters: &mut Vec<Parameter>) -> Result<(), Error> {
        let grant = take(parameters, "grant_type");
        let has_user = has(parameters, "username") && has(parameters, "password");
        match grant.as_deref() {
            None => self.members.push(("omit_grant_type".to_owned(), Value::Bool(true))),
            Some("password") if !has_user => return Err(wrong("the grant password without username and password")),
            Some("refresh_token") if !has(parameters, "refresh_token") => {
                return Err(wrong("the grant refresh_token without a refresh_token"));
            }
            Some(_) => {}
        }
        let is_password = has_user && matches!(grant.as_deref(), None | Some("password"));
        if is_password {
            self.set_text("grant", "password".to_owned());
            let username = take(parameters, "username").unwrap_or_default();
            self.set_text("username", plain(&username)?);
            let password = take(parameters, "password").unwrap_or_default();
            self.set_secret("password", password)?;
        } else if let Some(grant) = grant {
            let is_refresh = grant == "refresh_token";
            self.set_text("grant", plain(&grant)?);
            if is_refresh {
                let token = take(parameters, "refresh_token").unwrap_or_default();
                self.set_secret("refresh_token", token)?;
            }
        }
        if let Some(scope) = take(parameters, "scope") {
            self.set_text("scope", plain(&scope)?);
        }
        Ok(())
    }

    fn set_parameters(&mut self, parameters: Vec<Parameter>) -> Result<(), Error> {
        let (mut open, mut secret) = (Object::new(), Object::new());
        for (name, value, is_file) in parameters {
            match value {
                Value::String(file) if is_file => add(&mut secret, name, Value::String(plain(&file)?)),
                Value::String(text) if is_secret(&name) => {
                    let file = self.secret_file(&name, text)?;
                    add(&mut secret, name, Value::String(file));
                }
                Value::String(text) => add(&mut open, name, Value::String(plain(&text)?)),
                other if is_secret(&name) || has_secret_member(&other) => {
                    return Err(wrong(format!("{name:?}: a secret inside nested JSON cannot be expressed")));
                }
                other => add(&mut open, name, other),
            }
        }
        self.set_object("param", open);
        self.set_object("param_file", secret);
        Ok(())
    }

    fn set_headers(&mut self, headers: Vec<(String, String)>) -> Result<(), Error> {
        const TRANSPORT: &[&str] = &["host", "content-length", "connection", "accept-encoding", "transfer-encoding"];
        let (mut open, mut secret) = (Object::new(), Object::new());
        for (name, value) in headers {
            let lower = name.to_ascii_lowercase();
            if TRANSPORT.contains(&lower.as_str()) || lower == "accept" && value == "application/json" {
                continue;
            }
            if is_secret(&name) || ["auth", "cookie", "session"].iter().any(|part| lower.contains(part)) {
                let file = self.secret_file(&name, value)?;
                add(&mut secret, name, Value::String(file));
            } else {
                add(&mut open, name, Value::String(plain(&value)?));
            }
        }
        self.set_object("header", open);
        self.set_object("header_file", secret);
        Ok(())
    }

    fn set_text(&mut self, member: &str, value: String) {
        self.members.push((member.to_owned(), Value::String(value)));
    }

    fn set_object(&mut self, member: &str, object: Object) {
        if !object.is_empty() {
            self.members.push((member.to_owned(), Value::Object(object)));
        }
    }

    /// Sets a secret of the client or the grant: a file, or the environment variable that the command line names.
    fn set_secret(&mut self, member: &str, value: String) -> Result<(), Error> {
        if let Some(variable) = value.strip_prefix(VARIABLE).and_then(|rest| rest.strip_suffix(VARIABLE_END)) {
            if !variable.contains(VARIABLE) {
                self.has_variable = true;
                self.set_text(&format!("{member}_env"), variable.to_owned());
                return Ok(());
            }
        }
        let file = self.secret_file(member, value)?;
        self.set_text(&format!("{member}_file"), file);
        Ok(())
    }

    /// Adds a file for a secret and returns its name.
    fn secret_file(&mut self, name: &str, value: String) -> Result<String, Error> {
        if value.is_empty() {
            return Err(wrong(format!("{name}: the value is empty")));
        }
        let part: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        let file = format!("{}.{part}", self.stem);
        if self.secrets.iter().any(|(other, _)| *other == file) {
            return Err(wrong(format!("{name}: two secrets of this name cannot be expressed")));
        }
        self.secrets.push((file.clone(), plain(&value)?));
        Ok(file)
    }

    /// Writes the files, the profile last, and checks that keyfob accepts it. Removes all of them after an error.
    fn write(&self, path: &Path) -> Result<(), Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
            .map_err(|error| failed(&self.directory, &error))?;
        let mut files: Vec<(PathBuf, &str)> =
            self.secrets.iter().map(|(file, value)| (self.directory.join(file), value.as_str())).collect();
        let profile = self.text();
        files.push((path.to_owned(), &profile));
        if let Some((path, _)) = files.iter().find(|(path, _)| path.symlink_metadata().is_ok()) {
            return Err(
                wrong(format!("{}: already exists", path.display())).with_hint("remove it, or use another --name")
            );
        }
        let mut written = Vec::new();
        let mut result = files.iter().try_for_each(|(path, text)| {
            let mut write = || -> std::io::Result<()> {
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
                written.push(path.clone());
                file.write_all(text.as_bytes())
            };
            write().map_err(|error| failed(path, &error))
        });
        if result.is_ok() && !self.has_variable {
            result = try_out(path);
        }
        if result.is_err() {
            for path in written {
                let _ = fs::remove_file(path);
            }
        }
        result
    }

    /// Returns the profile's text, with the members in the order in which they were set.
    fn text(&self) -> String {
        let members: Vec<String> = self
            .members
            .iter()
            .map(|(name, value)| format!("  {}: {}", json::to_string(name), json::to_string(value)))
            .collect();
        format!("{{\n{}\n}}\n", members.join(",\n"))
    }
}

/// Builds the request that the profile describes, without sending it.
fn try_out(path: &Path) -> Result<(), Error> {
    const MADE: &str = "the request was made";
    let options = [("no_cache".to_owned(), Value::Bool(true))].into_iter().collect();
    let arguments = Arguments { profile: Some(path.into()), options, ..Arguments::new(Verb::Revoke) };
    let mut settings = Settings::read(&arguments, &mut Format::Token)?;
    let grant = settings.grant()?;
    let client = settings
        .client_with(|_| Ok(|_: &Request| -> Result<Response, Error> { Err(Error::new(ErrorKind::Internal, MADE)) }))?;
    match client.fetch(&grant) {
        Err(error) if !error.to_string().contains(MADE) => Err(error),
        _ => Ok(()),
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    wrong(format!("{}: {}", path.display(), output::reason(error)))
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#', ':']).next().unwrap_or_default()
}

fn method_is_get(members: &[(String, Value)]) -> bool {
    members.iter().any(|(name, value)| name == "method" && matches!(value, Value::String(method) if method == "GET"))
}

/// Refuses a text with a shell variable, whose value is not known here.
fn plain(text: &str) -> Result<String, Error> {
    match text.split_once(VARIABLE) {
        None => Ok(text.to_owned()),
        Some((_, rest)) => {
            let name = rest.split(VARIABLE_END).next().unwrap_or_default();
            Err(wrong(format!("the value of the shell variable ${name} is not known here; write it in its place")))
        }
    }
}

fn take_header(headers: &mut Vec<(String, String)>, name: &str) -> Option<String> {
    let at = headers.iter().position(|(known, _)| known.eq_ignore_ascii_case(name))?;
    Some(headers.remove(at).1)
}
