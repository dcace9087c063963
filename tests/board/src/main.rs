//! keyfob on a Cortex-M: no std, an allocator, a radio that is a stand-in, and a timer. It fetches a token as often as a board
//! would within a few hours, and prints the peaks of heap and stack in bytes. It runs under
//! `qemu-arm`.

#![no_std]
#![no_main]

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};
use core::arch::{asm, global_asm};
use core::cell::{Cell, UnsafeCell};
use core::ptr;

const HEAP: usize = 64 * 1024;
const STACK: usize = 16 * 1024;

/// Hands out one piece after the other and takes none back, which is enough for this program. It counts what is in use.
struct Allocator {
    memory: UnsafeCell<[u8; HEAP]>,
    handed_out: Cell<usize>,
    in_use: Cell<usize>,
    peak: Cell<usize>,
}

// SAFETY: there is one thread, and no interrupt allocates.
unsafe impl Sync for Allocator {}

// SAFETY: no two pieces overlap, and each is within `memory`.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let base = self.memory.get() as usize;
        let start = (base + self.handed_out.get()).next_multiple_of(layout.align()) - base;
        if layout.size() > HEAP.saturating_sub(start) {
            return ptr::null_mut();
        }
        self.handed_out.set(start + layout.size());
        self.in_use.set(self.in_use.get() + layout.size());
        self.peak.set(self.peak.get().max(self.in_use.get()));
        (base + start) as *mut u8
    }

    unsafe fn dealloc(&self, _: *mut u8, layout: Layout) {
        self.in_use.set(self.in_use.get() - layout.size());
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator {
    memory: UnsafeCell::new([0; HEAP]),
    handed_out: Cell::new(0),
    in_use: Cell::new(0),
    peak: Cell::new(0),
};

#[unsafe(no_mangle)]
static mut BOARD_STACK: [u32; STACK / 4] = [0; STACK / 4];

global_asm!(
    ".global _start",
    ".type _start, %function",
    ".thumb_func",
    "_start:",
    "ldr r0, =BOARD_STACK",
    "ldr r1, ={size}",
    "adds r0, r0, r1",
    "mov sp, r0",
    "bl board_main",
    ".ltorg",
    size = const STACK,
);

/// Calls qemu (Arm, "Semihosting for AArch32 and AArch64"). A Cortex-M itself would call its debugger by `bkpt`; qemu's user
/// mode runs the same Thumb code on a processor of the A profile, which calls by `svc`.
fn semihosting(operation: usize, argument: usize) {
    // SAFETY: of the operations used here, none writes memory.
    unsafe { asm!("svc 0xab", inlateout("r0") operation => _, in("r1") argument) };
}

fn exit(is_good: bool) -> ! {
    const REPORT_EXCEPTION: usize = 0x18;
    const APPLICATION_EXIT: usize = 0x20026;
    const RUN_TIME_ERROR: usize = 0x20023;
    semihosting(REPORT_EXCEPTION, if is_good { APPLICATION_EXIT } else { RUN_TIME_ERROR });
    loop {}
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(false)
}

fn print(number: usize, end: u8) {
    const WRITE_CHARACTER: usize = 0x03;
    let write = |byte: u8| semihosting(WRITE_CHARACTER, ptr::from_ref(&byte) as usize);
    let mut unit = 1;
    while number / unit >= 10 {
        unit *= 10;
    }
    while unit > 0 {
        write(b'0' + (number / unit % 10) as u8);
        unit /= 10;
    }
    write(end);
}

#[unsafe(no_mangle)]
extern "C" fn board_main() -> ! {
    let is_good = run();
    // What was never written is still zero.
    let untouched = (0..STACK / 4)
        // SAFETY: the index is in range, and nobody else writes.
        .take_while(|index| unsafe { ptr::read_volatile(ptr::addr_of!(BOARD_STACK).cast::<u32>().add(*index)) } == 0)
        .count();
    print(ALLOCATOR.peak.get(), b' ');
    print(STACK - untouched * 4, b'\n');
    exit(is_good)
}

/// An answer of 207 bytes.
#[cfg(any(feature = "reader", feature = "client"))]
const ANSWER: &[u8] = concat!(
    r#"{"access_token":""#,
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01",
    r#"","token_type":"Bearer","expires_in":"3600"}"#
)
.as_bytes();

#[cfg(not(any(feature = "reader", feature = "client")))]
fn run() -> bool {
    true
}

#[cfg(all(feature = "reader", not(feature = "client")))]
fn run() -> bool {
    use keyfob::{Members, Response, TokenResponse};
    let mut response = Response::new(200, ANSWER);
    TokenResponse::read(&mut response, &Members::default()).is_ok_and(|token| token.access_token.len() == 146)
}

#[cfg(feature = "client")]
fn run() -> bool {
    use core::sync::atomic::{AtomicUsize, Ordering};
    use core::time::Duration;
    use keyfob::{Client, Endpoint, Error, Grant, Request, Response, Secret};

    static HOURS: AtomicUsize = AtomicUsize::new(0);
    static SENT: AtomicUsize = AtomicUsize::new(0);
    let add = |count: &AtomicUsize| count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);

    fn timer() -> Duration {
        Duration::from_secs(3600 * HOURS.load(Ordering::Relaxed) as u64)
    }
    let radio = move |request: &Request| -> Result<Response, Error> {
        add(&SENT);
        let is_right = request.body() == Some(b"grant_type=client_credentials");
        Ok(Response::new(if is_right { 200 } else { 400 }, ANSWER))
    };
    let Ok(endpoint) = Endpoint::new("https://as.example/oauth/token") else { return false };
    let client = Client::with_parts(endpoint, radio, timer).client_id("meter").client_secret(Secret::from("secret"));

    #[cfg(not(feature = "cache"))]
    let fetch = || client.fetch(&Grant::client_credentials()).is_ok_and(|token| token.expose().len() == 146);
    #[cfg(feature = "cache")]
    let mut tokens = keyfob::TokenCache::new(client, Grant::client_credentials());
    #[cfg(feature = "cache")]
    let mut fetch = || (0..3).all(|_| tokens.token().is_ok_and(|token| token.expose().len() == 146));

    // Each hour the token of the hour before has expired.
    (0..3).all(|_| {
        add(&HOURS);
        fetch()
    }) && SENT.load(Ordering::Relaxed) == 3
}
