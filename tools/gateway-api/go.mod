// The CRDs of the Gateway API, as files of its module: nothing is built of it.
module littoral.dev/tools/gateway-api

go 1.26.0

require sigs.k8s.io/gateway-api v1.6.1
