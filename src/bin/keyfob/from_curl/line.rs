//! Reads a curl command line: the meaning of curl's options.

use super::shell;
use keyfob::{Error, ErrorKind};

/// The parts of the request that a curl command line describes.
#[derive(Default)]
pub(super) struct Line {
    pub(super) url: String,
    pub(super) method: Option<String>,
    pub(super) data: Vec<Data>,
    pub(super) is_query: bool,
    pub(super) is_json: bool,
    pub(super) headers: Vec<(String, String)>,
    pub(super) user: Option<String>,
    /// The members of the profile that an option sets directly.
    pub(super) members: Vec<(&'static str, String)>,
    pub(super) notes: Vec<String>,
}

pub(super) enum Data {
    /// Sent as it is.
    Raw(String),
    /// Percent-encoded by curl.
    Encoded(String, String),
    /// Read from a file.
    File(String, String),
}

#[derive(Clone, Copy)]
enum Means {
    Data,
    UrlEncoded,
    Json,
    User,
    Header,
    Method,
    Url,
    Query,
    Agent,
    Referer,
    Cookie,
    Bearer,
    Member(&'static str),
    /// No effect on the profile. The flag says whether it has a value.
    Nothing(bool),
    /// An effect that keyfob achieves in another way. The flag says whether it has a value.
    Otherwise(bool, &'static str),
    Refused(&'static str),
}

use Means::{Member, Nothing, Otherwise, Refused};

const MULTIPART: &str =
    "keyfob does not send multipart forms; token endpoints take application/x-www-form-urlencoded (-d)";
const INSECURE: &str =
    "keyfob always checks certificates; if the server has its own authority, use --cacert with its certificate";
const SCHEME: &str = "keyfob does not know this authentication";

/// curl's options: one letter, name, meaning.
const OPTIONS: &[(char, &str, Means)] = &[
    ('d', "data", Means::Data),
    ('\0', "data-raw", Means::Data),
    ('\0', "data-ascii", Means::Data),
    ('\0', "data-binary", Means::Data),
    ('\0', "data-urlencode", Means::UrlEncoded),
    ('\0', "json", Means::Json),
    ('u', "user", Means::User),
    ('H', "header", Means::Header),
    ('X', "request", Means::Method),
    ('\0', "url", Means::Url),
    ('G', "get", Means::Query),
    ('A', "user-agent", Means::Agent),
    ('e', "referer", Means::Referer),
    ('b', "cookie", Means::Cookie),
    ('\0', "oauth2-bearer", Means::Bearer),
    ('\0', "cacert", Member("ca_file")),
    ('E', "cert", Member("client_cert_file")),
    ('\0', "key", Member("client_key_file")),
    ('x', "proxy", Member("proxy")),
    ('m', "max-time", Member("timeout")),
    ('F', "form", Refused(MULTIPART)),
    ('\0', "form-string", Refused(MULTIPART)),
    ('k', "insecure", Refused(INSECURE)),
    ('T', "upload-file", Refused("keyfob sends parameters, not files")),
    ('I', "head", Refused("a HEAD request gets no token")),
    ('n', "netrc", Refused("keyfob does not read .netrc; use -u")),
    ('\0', "digest", Refused(SCHEME)),
    ('\0', "ntlm", Refused(SCHEME)),
    ('\0', "negotiate", Refused(SCHEME)),
    ('\0', "anyauth", Refused(SCHEME)),
    ('\0', "aws-sigv4", Refused(SCHEME)),
    ('K', "config", Refused("the options in that file are not visible here")),
    ('\0', "basic", Nothing(false)),
    ('s', "silent", Nothing(false)),
    ('S', "show-error", Nothing(false)),
    ('f', "fail", Nothing(false)),
    ('\0', "fail-with-body", Nothing(false)),
    ('v', "verbose", Nothing(false)),
    ('i', "include", Nothing(false)),
    ('g', "globoff", Nothing(false)),
    ('#', "progress-bar", Nothing(false)),
    ('0', "http1.0", Nothing(false)),
    ('\0', "http1.1", Nothing(false)),
    ('\0', "http2", Nothing(false)),
    ('\0', "tlsv1.2", Nothing(false)),
    ('\0', "ssl-reqd", Nothing(false)),
    ('q', "disable", Nothing(false)),
    ('o', "output", Nothing(true)),
    ('w', "write-out", Nothing(true)),
    ('D', "dump-header", Nothing(true)),
    ('\0', "connect-timeout", Nothing(true)),
    ('\0', "noproxy", Otherwise(true, "keyfob reads no_proxy from the environment")),
    ('L', "location", Otherwise(false, "keyfob does not follow redirects, which would pass the credentials on")),
    ('\0', "compressed", Otherwise(false, "keyfob does not ask for compressed answers")),
    ('\0', "retry", Otherwise(true, "keyfob retries for a while with --wait")),
];

impl Line {
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        let (words, has_more) = shell::words(text).map_err(wrong)?;
        // Skip a prompt that was copied with the command.
        let mut words = words.into_iter().skip_while(|word| ["$", "%", ">", "#"].contains(&word.as_str()));
        let program = words.next().unwrap_or_default();
        if !["curl", "curl.exe"].contains(&program.rsplit(['/', '\\']).next().unwrap_or_default()) {
            return Err(wrong("it does not begin with curl"));
        }
        let mut line = Self::default();
        if has_more {
            line.notes.push("ignored what follows the first command".to_owned());
        }
        let mut is_over = false;
        while let Some(word) = words.next() {
            if is_over || word == "-" || !word.starts_with('-') {
                line.set_url(word)?;
            } else if word == "--" {
                is_over = true;
            } else if let Some(name) = word.strip_prefix("--") {
                // curl does not accept `=` between an option and its value.
                let known = OPTIONS.iter().find(|(_, known, _)| *known == name);
                let (_, name, means) =
                    known.ok_or_else(|| wrong(format!("curl's option --{} is not known here", shown(name))))?;
                let value = if means.has_value() { words.next() } else { None };
                line.take(name, *means, value)?;
            } else {
                let mut letters = word[1..].chars();
                while let Some(letter) = letters.next() {
                    let known = OPTIONS.iter().find(|(known, ..)| *known == letter && letter != '\0');
                    let (_, name, means) =
                        known.ok_or_else(|| wrong("a one-letter option of curl is not known here"))?;
                    if !means.has_value() {
                        line.take(name, *means, None)?;
                        continue;
                    }
                    let rest = letters.as_str();
                    let value = if rest.is_empty() { words.next() } else { Some(rest.to_owned()) };
                    line.take(name, *means, value)?;
                    break;
                }
            }
        }
        if line.url.is_empty() {
            return Err(wrong("it has no URL"));
        }
        Ok(line)
    }

    fn set_url(&mut self, url: String) -> Result<(), Error> {
        if !self.url.is_empty() {
            return Err(wrong("it has two URLs: is an argument not quoted?"));
        }
        // curl uses http by default.
        self.url = if url.contains("://") { url } else { format!("http://{url}") };
        Ok(())
    }

    fn take(&mut self, name: &str, means: Means, value: Option<String>) -> Result<(), Error> {
        if means.has_value() && value.is_none() {
            return Err(wrong(format!("--{name} has no value")));
        }
        let value = value.unwrap_or_default();
        match means {
            Means::Data | Means::Json if value.starts_with('@') && name != "data-raw" => {
                return Err(wrong(format!("--{name} reads a file; write its content here instead")));
            }
            Means::Json => {
                self.is_json = true;
                self.data.push(Data::Raw(value));
            }
            Means::Data => self.data.push(Data::Raw(value)),
            Means::UrlEncoded => {
                let data = match value.find(['=', '@']) {
                    Some(at) if value[at..].starts_with('=') => {
                        Data::Encoded(value[..at].to_owned(), value[at + 1..].to_owned())
                    }
                    Some(at) => Data::File(value[..at].to_owned(), value[at + 1..].to_owned()),
                    None => Data::Encoded(String::new(), value),
                };
                match &data {
                    Data::Encoded(name, _) | Data::File(name, _) if name.is_empty() => {
                        return Err(wrong("--data-urlencode without NAME= cannot be expressed"));
                    }
                    _ => self.data.push(data),
                }
            }
            Means::User => self.user = Some(value),
            Means::Header => match value.split_once(':') {
                Some((name, value)) => self.headers.push((name.trim().to_owned(), value.trim().to_owned())),
                None => return Err(wrong("a header has no colon")),
            },
            Means::Method => self.method = Some(value),
            Means::Url => self.set_url(value)?,
            Means::Query => self.is_query = true,
            Means::Agent => self.headers.push(("User-Agent".to_owned(), value)),
            Means::Referer => self.headers.push(("Referer".to_owned(), value)),
            Means::Cookie if !value.contains('=') => return Err(wrong("--cookie reads a file")),
            Means::Cookie => self.headers.push(("Cookie".to_owned(), value)),
            Means::Bearer => self.headers.push(("Authorization".to_owned(), format!("Bearer {value}"))),
            Member(member) => self.members.push((member, value)),
            Nothing(_) => {}
            Otherwise(_, why) => self.notes.push(format!("ignored --{name}: {why}")),
            Refused(why) => return Err(wrong(format!("--{name}: {why}"))),
        }
        Ok(())
    }
}

impl Means {
    fn has_value(self) -> bool {
        !matches!(self, Means::Query | Nothing(false) | Otherwise(false, _) | Refused(_))
    }
}

/// Returns an option's name for messages, unless a misplaced quote has made it something else.
fn shown(name: &str) -> &str {
    let is_name = name.len() <= 30 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    if is_name { name } else { "…" }
}

pub(super) fn wrong(why: impl AsRef<str>) -> Error {
    Error::new(ErrorKind::Config, format!("from-curl: {}", why.as_ref()))
}
