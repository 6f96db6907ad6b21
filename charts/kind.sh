#!/bin/sh
# A kind cluster with everything in it: rqk, a Valkey, a sample pool at zero, and an app that enqueues.
#
#   charts/kind.sh up       what `make kind` does; again, it brings what has changed up to date
#   charts/kind.sh delete   what `make kind-delete` does
#
# Its steps can also be run one by one, on any cluster that kubectl reaches: images, load, install, sample, hints.
# What they use can be set: KUBECTL, HELM, DOCKER, KIND, KIND_CLUSTER, TAG, BASE, IMAGES (a prefix), NAMESPACE, RELEASE.
set -eu

cd "$(dirname "$0")/.."

KUBECTL=${KUBECTL:-kubectl}
HELM=${HELM:-helm}
DOCKER=${DOCKER:-docker}
KIND=${KIND:-kind}
KIND_CLUSTER=${KIND_CLUSTER:-rqk}
NAMESPACE=${NAMESPACE:-rqk-system}
RELEASE=${RELEASE:-rqk}
IMAGES=${IMAGES:-localhost}
TAG=${TAG:-kind}
BASE=${BASE:-python:3.13-slim}
PULL_POLICY=${PULL_POLICY:-IfNotPresent}

say() { printf '\n== %s\n' "$*"; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

need() {
    command -v "$1" >/dev/null 2>&1 || die "$1 is not installed; $2"
}

check_docker() {
    need "$DOCKER" "kind runs its nodes in Docker: https://docs.docker.com/engine/install/"
    "$DOCKER" info >/dev/null 2>&1 || die "Docker is installed, but does not answer: is it running, and may you use it?"
    need "$KIND" "https://kind.sigs.k8s.io/docs/user/quick-start/#installation"
}

check_kubernetes() {
    need "$KUBECTL" "https://kubernetes.io/docs/tasks/tools/"
    need "$HELM" "https://helm.sh/docs/intro/install/"
}

create() {
    if "$KIND" get clusters 2>/dev/null | grep -qx "$KIND_CLUSTER"; then
        say "the kind cluster $KIND_CLUSTER is there already"
    else
        say "creating the kind cluster $KIND_CLUSTER (about a minute)"
        "$KIND" create cluster --config kind-config.yaml --name "$KIND_CLUSTER" --wait 180s
    fi
    "$KUBECTL" config use-context "kind-$KIND_CLUSTER"
}

images() {
    for part in operator worker; do
        say "building $IMAGES/rqk-$part:$TAG"
        "$DOCKER" build --quiet --build-arg "BASE=$BASE" -f "images/$part.Dockerfile" -t "$IMAGES/rqk-$part:$TAG" .
    done
}

load() {
    say "loading the images into the nodes"
    "$KIND" load docker-image --name "$KIND_CLUSTER" "$IMAGES/rqk-operator:$TAG" "$IMAGES/rqk-worker:$TAG"
}

# More --set words may follow.
install() {
    say "installing the chart as $RELEASE into $NAMESPACE"
    "$HELM" upgrade --install "$RELEASE" charts/rqk --namespace "$NAMESPACE" --create-namespace --wait --timeout 5m \
        --set "operator.image.registry=$IMAGES" --set operator.image.repository=rqk-operator \
        --set "operator.image.tag=$TAG" --set "operator.image.pullPolicy=$PULL_POLICY" \
        --set "worker.image.registry=$IMAGES" --set worker.image.repository=rqk-worker \
        --set "worker.image.tag=$TAG" --set "worker.image.pullPolicy=$PULL_POLICY" \
        --set redis.enabled=true \
        "$@"
    "$KUBECTL" --namespace "$NAMESPACE" rollout status "deployment/$RELEASE-operator" --timeout=120s
}

# A pool at zero, and an app that enqueues a handful of jobs every 20 seconds.
sample() {
    say "a pool, and an app that enqueues jobs for it"
    sed -e "s|@IMAGE@|$IMAGES/rqk-worker:$TAG|" -e "s|@PULL_POLICY@|$PULL_POLICY|" -e "s|@RELEASE@|$RELEASE|" \
        examples/kind/sample.yaml | "$KUBECTL" --namespace "$NAMESPACE" apply -f -
    "$KUBECTL" --namespace "$NAMESPACE" rollout status deployment/sample-app --timeout=120s
}

hints() {
    cat <<END

Everything is there. To look at it:
  $KUBECTL -n $NAMESPACE get rqworkerpools -w
  $KUBECTL -n $NAMESPACE get pods -w
  $KUBECTL rqk explain sample -n $NAMESPACE        # with rqk installed: pip install 'rqk[operator]'
  $HELM test $RELEASE -n $NAMESPACE --logs
The operator's metrics on http://localhost:9728/metrics, the queues for \`rqk info\` and \`rq info\`:
  $KUBECTL -n $NAMESPACE port-forward deployment/$RELEASE-operator 9728
  $KUBECTL -n $NAMESPACE port-forward service/$RELEASE-redis 6379
Away with it:
  make kind-delete
END
}

up() {
    check_docker
    check_kubernetes
    create
    images
    load
    install "$@"
    sample
    hints
}

delete() {
    check_docker
    "$KIND" delete cluster --name "$KIND_CLUSTER"
}

case "${1:-}" in
up | delete | images | load | install | sample | hints)
    step=$1
    shift
    "$step" "$@"
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
