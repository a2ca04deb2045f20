//! A control plane that stays, for a person who wants to look around in one: what `cargo xtask k8s up` starts.

fn main() {
    // Comes with `cargo xtask k8s`.
}
