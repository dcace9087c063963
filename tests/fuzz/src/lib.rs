//! What the fuzz targets share: how an input is taken apart, and what every text that is shown must be like.

use keyfob::Error;
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what is asked for, so that "nothing is allocated" can be checked.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often something was allocated so far, by any thread.
pub fn allocations() -> usize {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// An input, taken apart from its front. What it has too little of is zero or empty, so that every input counts.
pub struct Input<'d>(&'d [u8]);

impl<'d> Input<'d> {
    pub fn new(data: &'d [u8]) -> Self {
        Self(data)
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// One of several.
    pub fn pick<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[usize::from(self.byte()) % choices.len()]
    }

    /// A length in one byte, and so many bytes.
    pub fn chunk(&mut self) -> &'d [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (chunk, rest) = self.0.split_at(length);
        self.0 = rest;
        chunk
    }

    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.chunk()).into_owned()
    }

    pub fn rest(self) -> &'d [u8] {
        self.0
    }
}

/// Checks that `text` is one line that cannot deceive a terminal, of at most `most` characters.
#[track_caller]
pub fn check_line(text: &str, most: usize) {
    assert!(text.chars().count() <= most, "longer than {most} characters: {text:?}");
    for c in text.chars() {
        let is_bidirectional =
            matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
        let is_hidden = matches!(c, '\u{AD}' | '\u{180E}' | '\u{200B}'..='\u{200D}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}');
        assert!(!c.is_control() && !is_bidirectional && !is_hidden, "{c:?} in {text:?}");
    }
}

/// All that an error shows, checked: its line, its line for programmers, its hint, and those of what caused it.
#[track_caller]
pub fn shown(error: &Error, most: usize) -> Vec<String> {
    let mut texts = vec![error.to_string(), format!("{error:?}")];
    texts.extend(error.hint().map(str::to_owned));
    for text in &texts {
        check_line(text, most);
    }
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        texts.extend([error.to_string(), format!("{error:?}")]);
        source = error.source();
    }
    texts
}

/// A path of this process's own, where `tests/fuzz/run` says (in memory), which tidies up as well.
pub fn place(name: &str) -> PathBuf {
    let directory = std::env::var_os("FUZZ_PLACE").map_or_else(std::env::temp_dir, PathBuf::from);
    directory.join(format!("keyfob-fuzz-{}-{name}", std::process::id()))
}
