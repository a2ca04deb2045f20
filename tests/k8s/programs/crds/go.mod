// Where the definitions of other people's objects come from that the tests create: read from the modules as they were
// released, and not compiled.
module backstay.test/crds

go 1.26.3

require (
	github.com/argoproj/argo-cd/v3 v3.5.7
	github.com/fluxcd/kustomize-controller v1.9.6
	istio.io/api v1.31.4
)
