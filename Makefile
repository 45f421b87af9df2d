# Commands for AWS: see infra/README.md. Everything else is `uv run …`: see README.md.
.PHONY: up down pause status env key check smoke

up: ## create everything, or update it
	@infra/commands/up

down: ## list the data that will be lost, ask, delete everything
	@infra/commands/down

pause: ## keep the data, delete what is billed by the hour
	@infra/commands/pause

status: ## list the resources and differences
	@infra/commands/status

env: ## export lines for a shell: eval "$$(make -s env)"
	@infra/commands/env

key: ## create an SSH key on this machine
	@infra/commands/ssh-key

check: ## run all checks of infra/, without an account
	@infra/check

smoke: ## test everything on an account, under 2 USD, and write a report
	@infra/commands/smoke
