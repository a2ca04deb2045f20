# policy-tree in Rego: the same tree with the default settings, without the reasons. A window that was reported twice is not
# told apart: the facts that are asked about here have none.
package backstay

import rego.v1

broken(window) if {
	window.samples >= 1
	window.bad * 1000 >= 200 * window.samples
}

newest(objective) := objective.candidate[count(objective.candidate) - 1]

known(objective) if newest(objective).samples >= 1

bad(objective) if broken(newest(objective))

long(objective) if {
	bad(objective)
	broken(objective.candidate[count(objective.candidate) - 2])
}

back := "pause" if {
	input.one_way
} else := "abort-canary" if {
	input.stage < 500
} else := "switch-and-freeze"

own contains objective if {
	some objective in input.objectives
	objective.critical
	objective.own
}

dependencies contains objective if {
	some objective in input.objectives
	objective.critical
	not objective.own
}

local_long if {
	some objective in own
	long(objective)
}

dependency_long if {
	some objective in dependencies
	long(objective)
}

local_bad if {
	some objective in own
	bad(objective)
}

dependency_bad if {
	some objective in dependencies
	bad(objective)
}

minor_long if {
	some objective in input.objectives
	not objective.critical
	long(objective)
}

in_the_dark if {
	some objective in input.objectives
	objective.critical
	not known(objective)
}

in_the_dark if {
	every objective in input.objectives {
		not known(objective)
	}
}

can_heal if {
	count(input.infra) > 0
	input.attempts < 3
}

decision := back if {
	local_long
} else := "freeze" if {
	dependency_long
} else := "heal" if {
	in_the_dark
	can_heal
} else := "freeze" if {
	in_the_dark
} else := "heal" if {
	local_bad
	not input.on_trial
	input.attempts < 3
} else := "slow 1" if {
	local_bad
} else := "slow 1" if {
	dependency_bad
} else := "slow 3" if {
	input.anomaly >= 700
} else := "slow 3" if {
	minor_long
} else := "proceed" if {
	count(input.infra) == 0
} else := "heal" if {
	can_heal
} else := "freeze" if {
	every infra in input.infra {
		infra.kind == "network"
	}
} else := back
