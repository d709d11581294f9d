//! Big-endian fields at fixed places of headers of fixed size.
//!
//! The place and both sizes are constants, so that a field outside its header does not compile: an accessor built on
//! these cannot panic, whatever the bytes are.

/// `N` bytes at `AT`.
#[inline(always)]
pub(crate) fn get<const AT: usize, const N: usize, const M: usize>(header: &[u8; M]) -> [u8; N] {
    const { assert!(AT + N <= M) };
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[AT..AT + N]);
    bytes
}

/// Puts `N` bytes at `AT`.
#[inline(always)]
pub(crate) fn put<const AT: usize, const N: usize, const M: usize>(header: &mut [u8; M], bytes: [u8; N]) {
    const { assert!(AT + N <= M) };
    header[AT..AT + N].copy_from_slice(&bytes);
}

/// The 16-bit word at `AT`.
#[inline(always)]
pub(crate) fn get16<const AT: usize, const M: usize>(header: &[u8; M]) -> u16 {
    u16::from_be_bytes(get::<AT, 2, M>(header))
}

/// Puts a 16-bit word at `AT`.
#[inline(always)]
pub(crate) fn put16<const AT: usize, const M: usize>(header: &mut [u8; M], word: u16) {
    put::<AT, 2, M>(header, word.to_be_bytes());
}

/// The 32-bit word at `AT`.
#[inline(always)]
pub(crate) fn get32<const AT: usize, const M: usize>(header: &[u8; M]) -> u32 {
    u32::from_be_bytes(get::<AT, 4, M>(header))
}
