//! What a plugin needs where there is no operating system: memory, and an end for a panic.
//!
//! An instance lives for one call and is thrown away whole. So memory is only ever handed out: nothing is worth
//! keeping a list for. An instance that was called again and again would run out of it.

#![expect(unsafe_code, reason = "an allocator is a promise to the compiler that can't be made in safe code")]

use core::{
    alloc::{GlobalAlloc, Layout},
    arch::wasm32,
    cell::Cell,
    panic::PanicInfo,
    ptr,
};

const PAGE: usize = 65_536;

/// Hands out memory from the end of the linear memory, which it grows as needed.
struct Bump {
    /// The first byte that is free, and the first that isn't there yet. Both 0 before the first use.
    next: Cell<usize>,
    end: Cell<usize>,
}

// SAFETY: a plugin has no threads; the host refuses components that want them.
unsafe impl Sync for Bump {}

#[global_allocator]
static MEMORY: Bump = Bump { next: Cell::new(0), end: Cell::new(0) };

impl Bump {
    /// The address of `size` free bytes, or `None` where the host gives no more.
    fn take(&self, size: usize, align: usize) -> Option<usize> {
        if self.end.get() == 0 {
            // What the compiler placed ends somewhere in the last page; only whole new pages are ours.
            let end = wasm32::memory_size(0) * PAGE;
            self.next.set(end);
            self.end.set(end);
        }
        let start = self.next.get().checked_next_multiple_of(align)?;
        let stop = start.checked_add(size)?;
        if stop > self.end.get() {
            let pages = (stop - self.end.get()).div_ceil(PAGE);
            if wasm32::memory_grow(0, pages) == usize::MAX {
                return None;
            }
            self.end.set(self.end.get() + pages * PAGE);
        }
        self.next.set(stop);
        Some(start)
    }
}

// SAFETY: no byte is handed out twice, except the last block's own when it grows in place.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.take(layout.size(), layout.align()).map_or(ptr::null_mut(), |start| start as *mut u8)
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size <= layout.size() {
            return old;
        }
        // The block that was handed out last can grow where it is: a growing buffer isn't copied each time.
        let last = old as usize + layout.size() == self.next.get();
        if last && self.take(size - layout.size(), 1).is_some() {
            return old;
        }
        let Some(new) = self.take(size, layout.align()) else { return ptr::null_mut() };
        // SAFETY: `new` has `size` bytes, more than the old block has, and the two don't overlap.
        unsafe { ptr::copy_nonoverlapping(old, new as *mut u8, layout.size()) };
        new as *mut u8
    }
}

/// A panic ends the call as a trap: the host sees that the plugin did not answer.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    wasm32::unreachable()
}
