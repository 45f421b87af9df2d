# Commands for AWS: see infra/README.md. Everything else is `uv run …`: see README.md.
.PHONY: up down pause status env key check smoke

up: ## make everything, or bring it up to date
	@infra/commands/up

down: ## say what will be lost, ask, end everything
	@infra/commands/down

pause: ## keep the data, end what is billed by the hour
	@infra/commands/pause

status: ## what there is
	@infra/commands/status

env: ## lines for a shell: eval "$$(make -s env)"
	@infra/commands/env

key: ## an SSH key on this machine, for those who need one
	@infra/commands/ssh-key

check: ## all checks of infra/, without an account
	@infra/check

smoke: ## try everything on an account, under 2 USD, and write a report
	@infra/commands/smoke
