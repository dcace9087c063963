//! What ureq reads and writes, in memory that is wiped. ureq's own buffers have their whole size from the start, and are
//! freed as they are.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use ureq::unversioned::transport::Buffers;
use zeroize::Zeroizing;

/// The input begins so large: a usual answer fits.
const FIRST_INPUT: usize = 2 * 1024;

pub(super) struct WipedBuffers {
    input: Zeroizing<Vec<u8>>,
    /// Of the input, what is there and not yet taken.
    taken: usize,
    filled: usize,
    max_input: usize,
    /// Whether some of the input was taken last: if not, what is there is not enough.
    is_taking: bool,
    output: Zeroizing<Vec<u8>>,
    output_size: usize,
}

impl WipedBuffers {
    /// Nothing is allocated before it is needed.
    pub(super) fn new(max_input: usize, output_size: usize) -> Self {
        let (input, output) = Default::default();
        Self { input, taken: 0, filled: 0, max_input, is_taking: false, output, output_size }
    }

    /// Makes room for more input, unless there is as much as there may be.
    fn make_room(&mut self) {
        if self.filled < self.input.len() {
            return;
        }
        if self.taken > 0 {
            self.input.copy_within(self.taken..self.filled, 0);
            (self.taken, self.filled) = (0, self.filled - self.taken);
        } else if self.filled < self.max_input {
            let mut larger = Zeroizing::new(vec![0; (4 * self.filled).max(FIRST_INPUT).min(self.max_input)]);
            larger[..self.filled].copy_from_slice(&self.input);
            self.input = larger;
        }
    }

    fn provide_output(&mut self) {
        if self.output.is_empty() {
            self.output = Zeroizing::new(vec![0; self.output_size]);
        }
    }
}

impl Buffers for WipedBuffers {
    fn output(&mut self) -> &mut [u8] {
        self.provide_output();
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        &self.input[self.taken..self.filled]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.make_room();
        &mut self.input[self.filled..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.filled += amount;
    }

    fn input_consume(&mut self, amount: usize) {
        self.taken += amount;
        self.is_taking = amount > 0;
        if self.taken == self.filled {
            (self.taken, self.filled) = (0, 0);
        }
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.make_room();
        self.provide_output();
        (&mut self.input[self.filled..], &mut self.output)
    }

    fn can_use_input(&self) -> bool {
        self.is_taking && self.taken < self.filled
    }
}

/// Nothing of what they hold.
impl fmt::Debug for WipedBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WipedBuffers").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts as much into the input as there is room for; returns how much.
    fn fill(buffers: &mut WipedBuffers, next: &mut u8) -> usize {
        let room = buffers.input_append_buf();
        for byte in room.iter_mut() {
            *byte = *next;
            *next = next.wrapping_add(1);
        }
        let count = room.len();
        buffers.input_appended(count);
        count
    }

    #[test]
    fn the_input_grows_to_its_limit_and_keeps_what_is_in_it() {
        let (mut buffers, mut next) = (WipedBuffers::new(16 * 1024, 1), 0);
        assert_eq!([0; 4].map(|_| fill(&mut buffers, &mut next)), [2048, 3 * 2048, 4 * 2048, 0]);
        assert!(buffers.input().iter().enumerate().all(|(at, byte)| *byte == at as u8));
        assert_eq!(buffers.input().len(), 16 * 1024);
        // A limit below the first size is one too.
        assert_eq!(fill(&mut WipedBuffers::new(10, 1), &mut 0), 10);
    }

    #[test]
    fn what_was_taken_makes_room_before_the_input_grows() {
        let (mut buffers, mut next) = (WipedBuffers::new(16 * 1024, 1), 0);
        fill(&mut buffers, &mut next);
        buffers.input_consume(2000);
        assert_eq!(fill(&mut buffers, &mut next), 2000);
        assert!(buffers.input().iter().enumerate().all(|(at, byte)| *byte == (2000 + at) as u8));
        buffers.input_consume(2048);
        assert_eq!(buffers.input(), b"");
        assert_eq!(fill(&mut buffers, &mut next), 2048);
    }

    #[test]
    fn what_is_there_is_enough_only_while_some_of_it_is_taken() {
        let mut buffers = WipedBuffers::new(10, 1);
        let mut can_be_used = |act: fn(&mut WipedBuffers)| {
            act(&mut buffers);
            buffers.can_use_input()
        };
        assert!(!can_be_used(|buffers| buffers.input_consume(0)));
        assert!(!can_be_used(|buffers| _ = fill(buffers, &mut 0)));
        assert!(can_be_used(|buffers| buffers.input_consume(1)));
        assert!(!can_be_used(|buffers| buffers.input_consume(0)));
        assert!(!can_be_used(|buffers| buffers.input_consume(9)));
    }

    #[test]
    fn the_output_has_the_size_that_was_asked_for_and_shows_nothing() {
        let mut buffers = WipedBuffers::new(10, 20);
        buffers.output().fill(b's');
        let (scratch, output) = buffers.tmp_and_output();
        assert_eq!((scratch.len(), &*output), (10, &[b's'; 20][..]));
        assert_eq!(alloc::format!("{buffers:?}"), "WipedBuffers { .. }");
    }
}
