//! AMX for processors without it: tile instructions end in SIGILL, whose handler does what the manual says
//! they do (Intel SDM volume 2, `LDTILECFG` to `TDPBF16PS`) and goes on behind them. Slow, and enough to run
//! the real machine code of the kernels everywhere. Linux on x86-64 only.
#![allow(clippy::needless_range_loop)] // rows and columns as in the manual's pseudo code

use std::cell::UnsafeCell;
use std::sync::Once;

/// Bytes of a row, and rows of a tile.
const ROW: usize = 64;
const ROWS: usize = 16;

/// What a thread's tile registers hold.
struct State {
    configured: bool,
    /// rows and bytes per row of each tile
    shape: [(usize, usize); 8],
    tiles: [[[u8; ROW]; ROWS]; 8],
    /// products computed
    products: u64,
}

thread_local! {
    static STATE: UnsafeCell<State> = const {
        UnsafeCell::new(State {
            configured: false,
            shape: [(0, 0); 8],
            tiles: [[[0; ROW]; ROWS]; 8],
            products: 0,
        })
    };
}

/// From now on tile instructions of this process are emulated.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler has the signature that SA_SIGINFO asks for.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()), 0);
        }
    });
}

/// Tile products that this thread has had emulated.
pub fn products() -> u64 {
    // SAFETY: the handler, the only writer, does not run at the same time on this thread.
    STATE.with(|s| unsafe { (*s.get()).products })
}

extern "C" fn handler(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes the interrupted context; the fault is synchronous, in code that holds no
    // borrow of the state; addresses are those that the interrupted instruction itself would access.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let code = registers[libc::REG_RIP as usize] as *const u8;
        let done = STATE.with(|s| emulate(&mut *s.get(), code, registers));
        match done {
            Some(length) => registers[libc::REG_RIP as usize] += length,
            // Not ours: back to the default, and the same instruction again.
            None => {
                libc::signal(libc::SIGILL, libc::SIG_DFL);
            }
        }
    }
}

/// The general registers in the order of their numbers.
const GENERAL: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Operand in memory: base + displacement, and the scaled index, which tile loads use as the distance of rows.
struct Address {
    start: i64,
    stride: i64,
    length: usize,
}

/// Does one instruction; its length, or `None` if it is no tile instruction.
unsafe fn emulate(state: &mut State, code: *const u8, registers: &[i64]) -> Option<i64> {
    // SAFETY: the processor has fetched these bytes; promised by the caller otherwise.
    unsafe {
        let at = |i: usize| *code.add(i);
        if at(0) != 0xc4 {
            return None;
        }
        let (b1, b2, opcode, modrm) = (at(1), at(2), at(3), at(4));
        let extend = |bit: u8| if b1 & bit == 0 { 8usize } else { 0 };
        let (x, b) = (extend(0x40), extend(0x20));
        // Map 0F38, W = 0, L = 0, and no tile register beyond 7.
        if b1 & 0x1f != 2 || b2 & 0x84 != 0 || b1 & 0x80 == 0 {
            return None;
        }
        let (pp, third) = (b2 & 3, usize::from(!(b2 >> 3) & 15));
        let (mode, reg, rm) = (modrm >> 6, usize::from(modrm >> 3 & 7), usize::from(modrm & 7));
        let value = |n: usize| registers[GENERAL[n] as usize];
        let memory = || {
            let sib = (rm == 4).then(|| at(5));
            let mut length = 5 + usize::from(sib.is_some());
            let (base, stride) = match sib {
                None => (rm + b, 0),
                Some(sib) => {
                    let index = usize::from(sib >> 3 & 7) + x;
                    let stride = if index == 4 { 0 } else { value(index) << (sib >> 6) };
                    (usize::from(sib & 7) + b, stride)
                }
            };
            assert!(mode != 0 || base & 7 != 5, "addressing without a base is not emulated");
            let displacement = match mode {
                0 => 0,
                1 => i64::from(at(length) as i8),
                _ => i64::from(code.add(length).cast::<i32>().read_unaligned()),
            };
            length += [0, 1, 4][usize::from(mode)];
            Address { start: value(base) + displacement, stride, length }
        };
        match (opcode, pp, mode) {
            // ldtilecfg
            (0x49, 0, 0..=2) => {
                let address = memory();
                let config = address.start as *const u8;
                assert_eq!(*config, 1, "palette");
                state.configured = true;
                for t in 0..8 {
                    let bytes = config.add(16 + 2 * t).cast::<u16>().read_unaligned();
                    let rows = *config.add(48 + t);
                    assert!(
                        usize::from(bytes) <= ROW && usize::from(rows) <= ROWS,
                        "tile {t}: {rows} x {bytes}"
                    );
                    state.shape[t] = (rows.into(), bytes.into());
                }
                state.tiles = [[[0; ROW]; ROWS]; 8];
                Some(address.length as i64)
            }
            // tilerelease
            (0x49, 0, 3) => {
                state.configured = false;
                Some(5)
            }
            // tilezero
            (0x49, 3, 3) => {
                assert!(state.configured, "tilezero without a configuration");
                state.tiles[reg] = [[0; ROW]; ROWS];
                Some(5)
            }
            // tileloadd, tileloaddt1
            (0x4b, 3 | 1, 0..=2) => {
                assert!(state.configured && rm == 4, "tileloadd");
                let address = memory();
                let (rows, bytes) = state.shape[reg];
                state.tiles[reg] = [[0; ROW]; ROWS];
                for r in 0..rows {
                    let row = (address.start + r as i64 * address.stride) as *const u8;
                    std::ptr::copy_nonoverlapping(row, state.tiles[reg][r].as_mut_ptr(), bytes);
                }
                Some(address.length as i64)
            }
            // tilestored
            (0x4b, 2, 0..=2) => {
                assert!(state.configured && rm == 4, "tilestored");
                let address = memory();
                let (rows, bytes) = state.shape[reg];
                for r in 0..rows {
                    let row = (address.start + r as i64 * address.stride) as *mut u8;
                    std::ptr::copy_nonoverlapping(state.tiles[reg][r].as_ptr(), row, bytes);
                }
                Some(address.length as i64)
            }
            // tdpbf16ps
            (0x5c, 2, 3) => {
                assert!(state.configured, "tdpbf16ps without a configuration");
                product(state, reg, rm, third);
                state.products += 1;
                Some(5)
            }
            _ => None,
        }
    }
}

fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// The numbers of a tile of bf16.
fn numbers(tile: &[[u8; ROW]; ROWS]) -> [[f32; ROW / 2]; ROWS] {
    tile.map(|row| {
        std::array::from_fn(|i| {
            flush(f32::from_bits(u32::from(u16::from_le_bytes([row[2 * i], row[2 * i + 1]])) << 16))
        })
    })
}

/// c += a b, where a row of b holds pairs of consecutive rows: even and odd products in chains of their own, both
/// then added to c; denormals are zeros. A product of two bf16 is exact, so that adding it is as good as a fused
/// multiply-add, unless it leaves the range of f32: to such products this is no witness.
fn product(state: &mut State, c: usize, a: usize, b: usize) {
    let ((rows, bytes), (a_rows, a_bytes), (b_rows, b_bytes)) =
        (state.shape[c], state.shape[a], state.shape[b]);
    assert!(a_rows == rows && b_bytes == bytes && b_rows == a_bytes / 4, "shapes of tdpbf16ps");
    let (left, right) = (numbers(&state.tiles[a]), numbers(&state.tiles[b]));
    for m in 0..rows {
        let mut chains = [0f32; ROW / 2];
        for k in 0..b_rows {
            for (i, chain) in chains.iter_mut().enumerate() {
                *chain = flush(left[m][2 * k + i % 2] * right[k][i] + *chain);
            }
        }
        for n in 0..bytes / 4 {
            let place = &mut state.tiles[c][m][4 * n..4 * n + 4];
            let old = flush(f32::from_le_bytes([place[0], place[1], place[2], place[3]]));
            let sum = flush(old + flush(chains[2 * n] + chains[2 * n + 1]));
            place.copy_from_slice(&sum.to_le_bytes());
        }
    }
}
