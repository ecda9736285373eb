# Does a machine's proven evidence meet the policy? Denies by default, and lists every reason.
#
# input: family, tee, measurement, debug, genuine, tcb, bits (what Ratchet's verifier proved of one piece of evidence).
# data.ratchet_policy: floors by family, reference values by TEE. The floors mean what ratchet/floor.py says they mean;
# a test holds the two against each other. Numbers are told from other types before they are compared, because Rego
# orders values of different types: the text "1" is greater than the number 24.
#
# What is negated is always a rule or a function of values that are there: in OPA `not f(input.x)` is undefined, not
# true, where `input.x` is.
package ratchet

default allow := false

# Every condition is stated as something that must hold, so that what is missing or malformed denies.
allow if {
	genuine
	closed
	measured
	met
	count(reasons) == 0
}

decision := {"allow": allow, "reasons": [reason | some reason in reasons]}

floor := data.ratchet_policy.floors[input.family]

# Genuine, and closed to the host.

genuine if input.genuine == true

closed if input.debug == false

reasons contains {"code": "not_genuine", "component": "evidence", "got": got, "want": true} if {
	not genuine
	got := object.get(input, "genuine", null)
}

reasons contains {"code": "debug_enabled", "component": "debug", "got": got, "want": false} if {
	not closed
	got := object.get(input, "debug", null)
}

# Reference values: where a TEE has none, its measurements are not judged.

values := object.get(data.ratchet_policy.reference_values, input.tee, {})

admitted_states := {"known", "closing"}

measured if count(values) == 0

measured if values[input.measurement] in admitted_states

reasons contains {"code": "measurement_not_admitted", "component": "measurement", "got": got, "want": "known"} if {
	not measured
	got := object.get(input, "measurement", null)
}

# Floors: a family without one is refused.

reasons contains {"code": "no_floor", "component": "family", "got": got, "want": "a family that has a floor"} if {
	not floor
	got := object.get(input, "family", null)
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
	input.bits[concat("", ["cpuid.", name])] != minimum[name]
}

applies(minimum) if {
	every name in ["model", "stepping"] {
		selected(minimum, name)
	}
}

selected(minimum, name) if minimum[name] == null

selected(minimum, name) if input.bits[concat("", ["cpuid.", name])] == minimum[name]

mitigated(minimum) if minimum.mitigation == 0

mitigated(minimum) if {
	minimum.mitigation > 0
	is_number(input.bits["mitigation.current"])
	bits.and(input.bits["mitigation.current"], minimum.mitigation) == minimum.mitigation
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

sgx_seen := [input.tcb[name] | some name in sgx_names]

tdx_seen := [input.tcb[name] | some name in tdx_names]

asked := array.concat(array.concat(sgx_names, ["pcesvn"]), [name | some name in tdx_names; floor.tee == "tdx"])

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
	input.tcb.pcesvn >= level.pcesvn
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
tdx_compared := tdx_seen if input.tcb["tdx.1"] == 0

tdx_compared := array.concat([255, 255], array.slice(tdx_seen, 2, 16)) if input.tcb["tdx.1"] > 0

level_admitted if admitted(matching_level)

admitted(level) if level.status in floor.accepted

admitted(level) if {
	allowed := floor.conditional[level.status]
	every advisory in level.advisories {
		advisory in allowed
	}
}

module_met if floor.tee != "tdx"

module_met if input.tcb["tdx.1"] == 0

module_met if {
	input.tcb["tdx.1"] > 0
	admitted(matching_module)
}

digits := ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "A", "B", "C", "D", "E", "F"]

module_name := concat("", ["TDX_", digits[(version - (version % 16)) / 16], digits[version % 16]]) if {
	version := input.tcb["tdx.1"]
	version < 256
}

module_levels := floor.modules[module_name]

modules_met contains place if {
	some place, level in module_levels
	level.isvsvn <= input.tcb["tdx.0"]
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

intel_reasons contains {"code": "below_floor", "component": lower(module_name), "got": input.tcb["tdx.0"], "want": want} if {
	floor.kind == "intel"
	count(unattested) == 0
	not module_met
	want := floor.accepted
}

default status_of_level := "NoMatchingTcbLevel"

status_of_level := matching_level.status

# Values

at_least(name, want) if {
	is_number(input.tcb[name])
	is_number(want)
	input.tcb[name] >= want
}

set_to(name, want) if as_number(input.bits[name]) == as_number(want)

attested_number(name) if is_number(input.tcb[name])

as_number(value) := value if is_number(value)

as_number(true) := 1

as_number(false) := 0

seen(kind, name) := object.get(object.get(input, kind, {}), name, null)

code_for(got) := "floor_abstains" if got == null

code_for(got) := "below_floor" if got != null
