# Who may ask OPA: whoever has the token of docker-compose.yml. Health may be asked by anybody.
package system.authz

default allow := false

allow if {
	token := opa.runtime().env.OPA_TOKEN
	token != ""
	input.identity == token
}

allow if input.path == ["health"]
