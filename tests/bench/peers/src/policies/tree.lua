-- policy-tree in Lua: the same tree with the default settings, without the reasons.
local CONSECUTIVE, BREACH, SAMPLES, SWITCH, ANOMALY, SLOW, HEALS = 2, 200, 1, 500, 700, 3, 3

local function broken(window)
  return window.bad * 1000 >= BREACH * window.samples
end

-- In how many of the newest windows in a row it was broken, counted up to what is enough; nil where nothing is known.
local function streak(windows)
  local newest = windows[#windows]
  if newest == nil or newest.samples < SAMPLES then return nil end
  if not broken(newest) then return 0 end
  local count, newer = 1, newest
  for at = #windows - 1, 1, -1 do
    if count >= CONSECUTIVE then break end
    local window = windows[at]
    if window.opened < newer.opened then
      if window.samples < SAMPLES or not broken(window) then break end
      count, newer = count + 1, window
    end
  end
  return count
end

local function back(facts)
  if facts.one_way then return "pause" end
  if facts.stage < SWITCH then return "abort-canary" end
  return "switch-and-freeze"
end

return function(facts)
  local known, missing, local_bad, dependency_bad = 0, false, false, false
  local local_long, dependency_long, minor_long = false, false, false
  for _, objective in ipairs(facts.objectives) do
    local count = streak(objective.candidate)
    if count == nil then
      missing = missing or objective.critical
    else
      known = known + 1
      if count > 0 then
        local long = count >= CONSECUTIVE
        if not objective.critical then
          minor_long = minor_long or long
        elseif objective.own then
          local_bad, local_long = true, local_long or long
        else
          dependency_bad, dependency_long = true, dependency_long or long
        end
      end
    end
  end
  if local_long then return back(facts) end
  if dependency_long then return "freeze" end
  local trouble = #facts.infra > 0
  if missing or known == 0 then
    if trouble and facts.attempts < HEALS then return "heal" end
    return "freeze"
  end
  if local_bad and not facts.on_trial and facts.attempts < HEALS then return "heal" end
  if local_bad or dependency_bad then return "slow 1" end
  if facts.anomaly >= ANOMALY or minor_long then return "slow " .. SLOW end
  if not trouble then return "proceed" end
  if facts.attempts < HEALS then return "heal" end
  for _, infra in ipairs(facts.infra) do
    if infra.kind ~= "network" then return back(facts) end
  end
  return "freeze"
end
