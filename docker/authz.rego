# Who may ask OPA what: whoever has the token of docker-compose.yml may ask for decisions and for the bundle's status.
# Nobody may change policy or data, list them, or read the configuration: they come with the signed bundle alone. Health
# may be asked by anybody.
package system.authz

default allow := false

allow if {
	token := opa.runtime().env.OPA_TOKEN
	token != ""
	input.identity == token
	asked
}

allow if {
	input.method == "GET"
	input.path == ["health"]
}

asked if {
	input.method == "POST"
	array.slice(input.path, 0, 3) == ["v1", "data", "ratchet"]
}

asked if {
	input.method == "GET"
	input.path == ["v1", "status"]
}
