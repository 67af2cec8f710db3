#!x
claude_cage { allow = { domains = { "a:0", nil, [5] = 1, x = [[y]] } }, usr = "\z  
\x41" } -- e
