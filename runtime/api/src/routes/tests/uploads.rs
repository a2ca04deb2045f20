//! Artifacts come in pieces, as long as it takes; what breaks off leaves nothing.

use std::{fs, path::Path as Folder};

use sha2::{Digest as _, Sha256};

use super::*;

fn names(dir: &Folder) -> Vec<String> {
    let entries = fs::read_dir(dir.join("artifacts")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

async fn upload(router: Router, digest: &Digest, body: Pieces) -> StatusCode {
    let request = Request::put(format!("/v1/artifacts/{digest}"))
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
        .body(Body::new(body))
        .unwrap();
    router.oneshot(request).await.unwrap().status()
}

/// A thin line: it takes far longer than any other call may.
#[tokio::test(start_paused = true)]
async fn an_upload_may_take_its_time_and_two_of_the_same_are_in_nobodys_way() {
    let (router, dir) = desk();
    let digest = Digest(Sha256::digest([7; 40_000]).into());
    let [one, two] = [40, 40].map(|left| upload(router.clone(), &digest, Pieces::new(20, left, true)));
    let began = tokio::time::Instant::now();
    assert_eq!(tokio::join!(one, two), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(began.elapsed(), Duration::from_secs(800));
    assert_eq!(names(dir.path()), [digest.to_string()]);
    assert_eq!(fs::read(dir.path().join("artifacts").join(digest.to_string())).unwrap(), [7; 40_000]);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_stands_still_is_broken_off_and_leaves_nothing() {
    let (router, dir) = desk();
    let digest = Digest([1; 32]);
    let began = tokio::time::Instant::now();
    assert_eq!(upload(router.clone(), &digest, Pieces::new(20, 3, false)).await, StatusCode::BAD_REQUEST);
    assert_eq!(began.elapsed(), Duration::from_secs(60) + UPLOAD_STALL);
    assert_eq!(names(dir.path()), [""; 0]);
    // Who drips is not let drip for ever.
    let status = upload(router.clone(), &digest, Pieces::new(29, 1000, true)).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(names(dir.path()), [""; 0]);
    let other = upload(router, &digest, Pieces::new(1, 3, true)).await;
    assert_eq!(other, StatusCode::UNPROCESSABLE_ENTITY, "it is something else than its name says");
    assert_eq!(names(dir.path()), [""; 0]);
}

/// The server ended in the middle of one.
#[test]
fn what_never_came_whole_is_cleared_away_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (half, whole) = (format!(".{}.3.new", Digest([1; 32])), Digest([2; 32]).to_string());
    for name in [&half, &whole] {
        fs::write(dir.path().join(name), b"bytes").unwrap();
    }
    let shelf = Shelf::open(dir.path()).unwrap();
    assert_eq!(shelf.names().collect::<Vec<_>>(), [Digest([2; 32])]);
    assert!(!dir.path().join(half).exists());
}
