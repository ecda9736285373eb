# May something be released to this machine? Denies by default, and lists every reason.
#
# input: token (an EAR that Ratchet's verifier signed), audience, tenant and nonce (the relying party's own), and where it
# names them: policy (hash of the policy that it wants applied; else the store's own) and evaluation (Intel's, the least).
# Nothing that a caller says of the machine counts: only what the token says, once its signature is proven.
# data.ratchet_keys: jwks (JSON text) and kids. data.ratchet_policy: tenant, policy (hash), and the floors by family, which
# mean what ratchet/policy/floor.py says they mean; a test holds the two against each other. Numbers are told from other types
# before they are compared, because Rego orders values of different types: the text "1" is greater than the number 24.
#
# What is negated is always a rule or a function of values that are there: in OPA `not f(input.x)` is undefined, not
# true, where `input.x` is.
package ratchet

default allow := false

# Every condition is stated as something that must hold, so that what is missing or malformed denies.
allow if {
	proven
	for_this_nonce
	for_this_tenant
	affirming
	judged_as_wanted
	recent_evaluation
	closed
	met
	count(reasons) == 0
}

decision := {"allow": allow, "reasons": [reason | some reason in reasons]}

# The token: signed with ES256 by a key that is published, for this audience, and believed now.

issuer := "urn:ratchet:verifier"

max_life := 3600

skew := 60

checked := io.jwt.decode_verify(input.token, {
	"cert": data.ratchet_keys.jwks,
	"alg": "ES256",
	"iss": issuer,
	"aud": input.audience,
})

signed if {
	is_string(input.audience)
	count(input.audience) > 0
	checked[0] == true
	checked[1].kid in data.ratchet_keys.kids
	not checked[1].crit
}

now := time.now_ns() / 1000000000

# OPA checks exp where there is one; a token without an end, or with a long life, is none of ours.
believed if {
	signed
	is_number(checked[2].iat)
	is_number(checked[2].exp)
	checked[2].exp > now
	checked[2].iat <= now + skew
	checked[2].exp - checked[2].iat <= max_life
}

claims := checked[2] if believed

proven if machine

submodule := claims.submods[tee]

tee := [name | some name, _ in claims.submods][0] if count(claims.submods) == 1

machine := submodule.ratchet if is_object(submodule.ratchet)

floor := data.ratchet_policy.floors[machine.family] if not graced

# Within the grace that the policy held here gives, appraisal alone says until when. Whoever names another policy gets
# none of that one's grace: the floors held here count.
default graced := false

graced if {
	machine.in_grace == true
	machine.policy == data.ratchet_policy.policy
}

reasons contains {"code": "token_refused", "component": "token", "got": null, "want": want} if {
	not proven
	not unknown_key
	want := "a token that this verifier signed for this audience, and that has not expired"
}

# So that a store that has not fetched the keys yet is told from one that was given a forgery.
unknown_key if {
	kid := io.jwt.decode(input.token)[0].kid
	not kid in data.ratchet_keys.kids
}

reasons contains {"code": "token_key_unknown", "component": "token", "got": kid, "want": "a published key"} if {
	unknown_key
	kid := io.jwt.decode(input.token)[0].kid
}

for_this_nonce if {
	is_string(input.nonce)
	count(input.nonce) >= 32
	claims.eat_nonce == input.nonce
}

reasons contains {"code": "nonce_mismatch", "component": "eat_nonce", "got": got, "want": want} if {
	proven
	not for_this_nonce
	got := object.get(claims, "eat_nonce", null)
	want := object.get(input, "nonce", null)
}

for_this_tenant if {
	input.tenant == machine.tenant
	data.ratchet_policy.tenant == machine.tenant
}

reasons contains {"code": "tenant_mismatch", "component": "tenant", "got": got, "want": want} if {
	proven
	not for_this_tenant
	got := object.get(machine, "tenant", null)
	want := object.get(input, "tenant", null)
}

# What appraisal made of it, and by which policy.

affirming if submodule.ear_status == "affirming"

reasons contains {"code": "not_affirming", "component": "ear_status", "got": got, "want": "affirming"} if {
	proven
	not affirming
	got := object.get(submodule, "ear_status", null)
}

wanted_policy := object.get(input, "policy", data.ratchet_policy.policy)

judged_as_wanted if {
	is_string(wanted_policy)
	machine.policy == wanted_policy
}

reasons contains {"code": "policy_mismatch", "component": "policy", "got": got, "want": want} if {
	proven
	not judged_as_wanted
	got := object.get(machine, "policy", null)
	want := object.get(input, "policy", object.get(data.ratchet_policy, "policy", null))
}

least_evaluation := object.get(input, "evaluation", null)

recent_evaluation if least_evaluation == null

# TEEs whose vendors number no evaluations.
recent_evaluation if tee in object.get(data.ratchet_policy, "without_evaluations", [])

recent_evaluation if {
	is_number(least_evaluation)
	is_number(machine.evaluation)
	machine.evaluation >= least_evaluation
}

reasons contains {"code": "evaluation_too_low", "component": "evaluation", "got": got, "want": least_evaluation} if {
	proven
	not recent_evaluation
	got := object.get(machine, "evaluation", null)
}

closed if machine.debug == false

reasons contains {"code": "debug_enabled", "component": "debug", "got": got, "want": false} if {
	proven
	not closed
	got := object.get(machine, "debug", null)
}

# Floors: once more, on the attested versions. A family without one is refused.

reasons contains {"code": "no_floor", "component": "family", "got": got, "want": "a family that has a floor"} if {
	proven
	not floor
	not graced
	got := object.get(machine, "family", null)
}

met if {
	proven
	graced
}

met if {
	floor.kind == "amd"
	every minimum in floor.minima {
		fulfilled(minimum)
	}
}

met if {
	floor.kind == "intel"
	count(unattested) == 0
	level_admitted
	module_met
}

reasons contains reason if some reason in amd_reasons

reasons contains reason if some reason in intel_reasons

# Whatever else keeps a floor from being met.
reasons contains {"code": "below_floor", "component": "floor", "got": null, "want": "a floor that is met"} if {
	floor
	not met
	count(amd_reasons) == 0
	count(intel_reasons) == 0
}

# AMD: every minimum whose model and stepping match applies; one that asks for what is not attested is not met.

fulfilled(minimum) if for_another(minimum)

fulfilled(minimum) if {
	applies(minimum)
	every name, want in minimum.tcb {
		at_least(name, want)
	}
	every name, want in minimum.bits {
		set_to(name, want)
	}
	mitigated(minimum)
}

for_another(minimum) if {
	some name in ["model", "stepping"]
	minimum[name] != null
	machine.bits[concat("", ["cpuid.", name])] != minimum[name]
}

applies(minimum) if {
	every name in ["model", "stepping"] {
		selected(minimum, name)
	}
}

selected(minimum, name) if minimum[name] == null

selected(minimum, name) if machine.bits[concat("", ["cpuid.", name])] == minimum[name]

mitigated(minimum) if minimum.mitigation == 0

mitigated(minimum) if {
	minimum.mitigation > 0
	is_number(machine.bits["mitigation.current"])
	bits.and(machine.bits["mitigation.current"], minimum.mitigation) == minimum.mitigation
}

amd_reasons contains {"code": "floor_abstains", "component": component, "got": null, "want": minimum[name]} if {
	floor.kind == "amd"
	some minimum in floor.minima
	not for_another(minimum)
	some name in ["model", "stepping"]
	minimum[name] != null
	component := concat("", ["cpuid.", name])
	seen("bits", component) == null
}

amd_reasons contains {"code": code, "component": name, "got": got, "want": want} if {
	floor.kind == "amd"
	some minimum in floor.minima
	applies(minimum)
	some name, want in minimum.tcb
	not at_least(name, want)
	got := seen("tcb", name)
	code := code_for(got)
}

amd_reasons contains {"code": code, "component": name, "got": got, "want": want} if {
	floor.kind == "amd"
	some minimum in floor.minima
	applies(minimum)
	some name, want in minimum.bits
	not set_to(name, want)
	got := seen("bits", name)
	code := code_for(got)
}

amd_reasons contains {"code": code, "component": "mitigation.current", "got": got, "want": minimum.mitigation} if {
	floor.kind == "amd"
	some minimum in floor.minima
	applies(minimum)
	not mitigated(minimum)
	got := seen("bits", "mitigation.current")
	code := code_for(got)
}

# Intel: the first level in list order that is met decides, by its status and advisories.

sgx_names := [concat("", ["sgx.", format_int(n, 10)]) | some n in numbers.range(0, 15)]

tdx_names := [concat("", ["tdx.", format_int(n, 10)]) | some n in numbers.range(0, 15)]

sgx_seen := [machine.tcb[name] | some name in sgx_names]

tdx_seen := [machine.tcb[name] | some name in tdx_names]

asked := array.concat(array.concat(sgx_names, ["pcesvn"]), [name | some name in tdx_names; modular])

unattested contains name if {
	some name in asked
	not attested_number(name)
}

places_met contains place if {
	some place, level in floor.levels
	level_met(level)
}

matching_level := floor.levels[min(places_met)]

level_met(level) if {
	every place, want in level.sgx {
		sgx_seen[place] >= want
	}
	machine.tcb.pcesvn >= level.pcesvn
	tdx_met(level)
}

tdx_met(level) if level.tdx == null

tdx_met(level) if {
	level.tdx != null
	every place, want in level.tdx {
		tdx_compared[place] >= want
	}
}

# With a TDX module version, components 0 and 1 belong to the module (Intel PCS API v4, tdxModuleIdentities): they are
# set to the greatest byte, which any level admits.
tdx_compared := tdx_seen if machine.tcb["tdx.1"] == 0

tdx_compared := array.concat([255, 255], array.slice(tdx_seen, 2, 16)) if machine.tcb["tdx.1"] > 0

level_admitted if admitted(matching_level)

admitted(level) if level.status in floor.accepted

admitted(level) if {
	allowed := floor.conditional[level.status]
	every advisory in level.advisories {
		advisory in allowed
	}
}

# The levels ask for components of a TDX module, too (Intel PCS API v4, tdxtcbcomponents).
default modular := false

modular if {
	some level in floor.levels
	level.tdx != null
}

module_met if not modular

module_met if machine.tcb["tdx.1"] == 0

module_met if {
	machine.tcb["tdx.1"] > 0
	admitted(matching_module)
}

digits := ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "A", "B", "C", "D", "E", "F"]

module_name := concat("", ["TDX_", digits[(version - (version % 16)) / 16], digits[version % 16]]) if {
	version := machine.tcb["tdx.1"]
	version < 256
}

module_levels := floor.modules[module_name]

modules_met contains place if {
	some place, level in module_levels
	level.isvsvn <= machine.tcb["tdx.0"]
}

matching_module := module_levels[min(modules_met)]

intel_reasons contains {"code": "floor_abstains", "component": name, "got": null, "want": "a security version"} if {
	floor.kind == "intel"
	some name in unattested
}

intel_reasons contains {"code": "below_floor", "component": "tcb_status", "got": got, "want": want} if {
	floor.kind == "intel"
	count(unattested) == 0
	not level_admitted
	got := status_of_level
	want := floor.accepted
}

intel_reasons contains {"code": "below_floor", "component": lower(module_name), "got": machine.tcb["tdx.0"], "want": want} if {
	floor.kind == "intel"
	count(unattested) == 0
	not module_met
	want := floor.accepted
}

default status_of_level := "NoMatchingTcbLevel"

status_of_level := matching_level.status

# Values

at_least(name, want) if {
	is_number(machine.tcb[name])
	is_number(want)
	machine.tcb[name] >= want
}

set_to(name, want) if as_number(machine.bits[name]) == as_number(want)

attested_number(name) if is_number(machine.tcb[name])

as_number(value) := value if is_number(value)

as_number(true) := 1

as_number(false) := 0

seen(kind, name) := object.get(object.get(machine, kind, {}), name, null)

code_for(got) := "floor_abstains" if got == null

code_for(got) := "below_floor" if got != null
