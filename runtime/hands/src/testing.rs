//! Taking fields out of an answer, without the connection that it comes over.

use crate::{
    mask::Mask,
    prune::{Pruned, prune},
    secret::{Cleaner, Secret},
};

/// What `mask` keeps of `answer`, at most `bytes_max`, without `credential`. `None`: there is more of it, or the credential can't be
/// taken out.
///
/// # Errors
/// It is no mask, or no JSON that everybody reads in the same way.
pub fn fields(
    mask: &str,
    credential: Option<&str>,
    answer: &[u8],
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, String> {
    let mask = Mask::parse(mask)?;
    let secret = credential.map(|credential| Secret::new(credential.into()));
    match prune(answer, &mask, &Cleaner::new(secret.as_ref()), bytes_max) {
        Ok(Pruned::Fields(bytes)) => Ok(Some(bytes)),
        Ok(Pruned::TooLong { .. } | Pruned::Exposed) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}
