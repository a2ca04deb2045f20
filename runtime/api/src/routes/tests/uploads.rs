//! Artifacts come in pieces, as long as it takes; what breaks off leaves nothing.

use std::{
    fs,
    path::Path as Folder,
    sync::{Arc, Mutex},
};

use sha2::{Digest as _, Sha256};

use super::*;

fn names(dir: &Folder) -> Vec<String> {
    let entries = fs::read_dir(dir.join("artifacts")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A desk with somebody behind it, who notes what was uploaded by whom.
fn attended() -> (Router, tempfile::TempDir, Arc<Mutex<Vec<String>>>) {
    let dir = tempfile::tempdir().unwrap();
    let shelf = |name: &str| Shelf::open(dir.path().join(name)).unwrap();
    let (calls, mut waiting) = Calls::new(1);
    let noted = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&noted);
    tokio::spawn(async move {
        while let Some(call) = waiting.recv().await {
            let Call::Uploaded(who, digest, bytes, reply) = call else { continue };
            notes.lock().unwrap().push(format!("{who} {digest} {bytes}"));
            reply.send(Ok(())).unwrap();
        }
    });
    let tokens = Tokens::single(TOKEN).unwrap();
    (routes(calls, tokens, shelf("artifacts"), shelf("statements")), dir, noted)
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
    let (router, dir, noted) = attended();
    let digest = Digest(Sha256::digest([7; 40_000]).into());
    let [one, two] = [40, 40].map(|left| upload(router.clone(), &digest, Pieces::new(20, left, true)));
    let began = tokio::time::Instant::now();
    assert_eq!(tokio::join!(one, two), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(began.elapsed(), Duration::from_secs(800));
    assert_eq!(names(dir.path()), [digest.to_string()]);
    assert_eq!(*noted.lock().unwrap(), vec![format!("operator {digest} 40000"); 2]);
    assert_eq!(fs::read(dir.path().join("artifacts").join(digest.to_string())).unwrap(), [7; 40_000]);
}

/// A device that has an older one asks for them next, by ranges.
#[tokio::test]
async fn an_artifact_that_is_large_enough_has_its_blocks_beside_it() {
    let (router, dir) = desk();
    let artifact = vec![7; 1_100_000];
    let digest = Digest(Sha256::digest(&artifact).into());
    let put = || {
        let request = Request::put(format!("/v1/artifacts/{digest}"))
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .body(Body::from(artifact.clone()))
            .unwrap();
        router.clone().oneshot(request)
    };
    let get = |name: String| {
        let request = Request::get(format!("/v1/artifacts/{name}")).header(header::RANGE, "bytes=0-7");
        router.clone().oneshot(request.body(Body::empty()).unwrap())
    };
    assert_eq!(get(format!("{digest}.blocks")).await.unwrap().status(), StatusCode::NOT_FOUND);
    // The first brings the artifact and its blocks, the second nothing more. `Calls` here has nobody behind it.
    for _ in 0..2 {
        put().await.unwrap();
        let mut names = names(dir.path());
        names.sort();
        assert_eq!(names, [digest.to_string(), format!("{digest}.blocks")]);
    }
    let came = get(format!("{digest}.blocks")).await.unwrap();
    assert_eq!(came.status(), StatusCode::PARTIAL_CONTENT);
    let magic = came.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&magic[..], b"BKSTBLK1");
    let blocks = fs::read(dir.path().join(format!("artifacts/{digest}.blocks"))).unwrap();
    let shape = backstay_blocks::Shape::of(artifact.len() as u64).unwrap();
    let index = blocks[..shape.index_bytes()].to_vec();
    assert!(backstay_blocks::Index::read(index, &digest, artifact.len() as u64).is_ok());
    for name in [format!("{digest}."), format!("{digest}blocks"), ".blocks".into(), "..%2fx.blocks".into()] {
        assert_eq!(get(name).await.unwrap().status(), StatusCode::BAD_REQUEST);
    }
    let shelf = Shelf::open(dir.path().join("artifacts")).unwrap();
    assert_eq!(shelf.names().collect::<Vec<_>>(), [digest], "blocks are no artifact");
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
