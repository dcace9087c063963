//! A directory with a refresh token's file, and a server that rotates the token.

use keyfob::{Client, Endpoint, Error, Request, Response};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) struct Rotating {
    pub(crate) directory: PathBuf,
    sent: Arc<Mutex<Vec<String>>>,
    now: Arc<Mutex<Duration>>,
}

impl Rotating {
    /// The file `rt` holds `r0`.
    pub(crate) fn new(name: &str) -> Self {
        let test = env!("CARGO_CRATE_NAME");
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let directory = directory.canonicalize().unwrap();
        fs::write(directory.join("rt"), "r0\n").unwrap();
        Self { directory, sent: Arc::default(), now: Arc::new(Mutex::new(Duration::from_secs(7))) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A client whose request number n gets the tokens `an` and `rn`, unless `failure` returns another answer to n.
    pub(crate) fn client(&self, failure: impl Fn(usize) -> Option<Response> + Send + Sync + 'static) -> Client {
        let (sent, now) = (self.sent.clone(), self.now.clone());
        let server = move |request: &Request| -> Result<Response, Error> {
            let body = String::from_utf8(request.body().unwrap().to_vec()).unwrap();
            let mut sent = sent.lock().unwrap();
            sent.push(body.rsplit_once('=').unwrap().1.to_owned());
            let answer = format!(r#"{{"access_token":"a{0}","expires_in":60,"refresh_token":"r{0}"}}"#, sent.len());
            Ok(failure(sent.len()).unwrap_or_else(|| Response::new(200, answer.into_bytes())))
        };
        Client::with_parts(Endpoint::new("https://as.example/t").unwrap(), server, move || *now.lock().unwrap())
    }

    /// Lets the time pass.
    pub(crate) fn wait(&self, seconds: u64) {
        *self.now.lock().unwrap() += Duration::from_secs(seconds);
    }

    /// The refresh tokens that the server was sent.
    pub(crate) fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }
}

impl Drop for Rotating {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
