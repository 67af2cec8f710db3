local t = {}
for i = 1, 3 do t[i] = "h" .. i .. ".example" end
claude_cage({ block = { ["domains"] = t } })
