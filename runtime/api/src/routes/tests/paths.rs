//! Paths that would lead somewhere else, if a name were a path.

use super::*;

/// What stands in the place of a name. None of it is one, however it is written.
const WAYS_OUT: [&str; 22] = [
    "..%2F..%2Fetc%2Fpasswd",
    "%2e%2e%2f%2e%2e%2fsecret",
    "%252e%252e%252fsecret",
    "..%252Fsecret",
    "..%5C..%5Csecret",
    "..%5csecret",
    "..%c0%afsecret",
    "%c0%ae%c0%ae%c0%afsecret",
    "%ef%bc%8e%ef%bc%8e%ef%bc%8fsecret",
    "%2Fetc%2Fpasswd",
    "file:%2F%2F%2Fetc%2Fpasswd",
    ".",
    "%2e%2e",
    ".hidden",
    "secret%00",
    "%00",
    "secret%0d%0aSet-Cookie:%20a=b",
    "%20",
    "%ff%fe",
    "$(id)",
    "..;",
    "~root",
];

/// Every place for a name, in every route, with the token of one who may do everything. Beside the folders lies a file that
/// nobody is to get at.
#[tokio::test]
async fn a_name_is_never_a_path() {
    let (router, dir) = desk();
    std::fs::write(dir.path().join("secret"), "the secret").unwrap();
    std::fs::write(dir.path().join("artifacts/.hidden"), "the secret").unwrap();
    let mut tried = 0;
    for route in all() {
        let parts: Vec<&str> = route.path.split('/').collect();
        for place in (0..parts.len()).filter(|at| parts[*at].starts_with('{')) {
            for way in WAYS_OUT {
                let mut parts = parts.clone();
                parts[place] = way;
                let at = filled(&parts.join("/"));
                // Neither a client nor a proxy gets to see a difference, so this is what an attacker can send.
                let request = Request::builder()
                    .method(&route.method)
                    .uri(&at)
                    .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
                let request = request.body(Body::from("{\"reason\": \"to see\"}")).unwrap();
                let response = router.clone().oneshot(request).await.unwrap();
                let status = response.status();
                let told = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
                let told = String::from_utf8_lossy(&told);
                assert_eq!(status, StatusCode::BAD_REQUEST, "{} {at}: {told}", route.method);
                assert!(!told.contains("the secret"), "{at}: {told}");
                tried += 1;
            }
        }
    }
    assert!(tried >= 22 * WAYS_OUT.len(), "{tried}");
    // Nothing was made, in or beside the folders.
    let names = |at: &std::path::Path| std::fs::read_dir(at).unwrap().count();
    assert_eq!((names(dir.path()), names(&dir.path().join("artifacts"))), (3, 1));
    let (status, _) = ask("GET", &format!("/v1/artifacts/{}", "0".repeat(64)), None, "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

/// More or fewer slashes, and dots between them, are other paths, and there is nothing at them.
#[tokio::test]
async fn a_path_is_taken_as_it_is_written() {
    for at in [
        "/v1//fleet",
        "//v1/fleet",
        "/v1/fleet/",
        "/v1/./fleet",
        "/v1/x/../fleet",
        "/v1/%66leet/x",
        "/V1/fleet",
        "/v1/fleet%2F",
        "/v1%2Ffleet",
        "/v1/fleet;a=b",
        "/healthz/../v1/fleet",
        "/healthz%2F..%2Fv1%2Ffleet",
        "/",
        "/v1",
        "/etc/passwd",
        "/.git/config",
    ] {
        let (status, told) = ask("GET", at, Some(TOKEN), "").await;
        assert_eq!((status, told.as_str()), (StatusCode::NOT_FOUND, ""), "{at}");
    }
}
