"""Who a computation is: identities of code and of values, the environment, and the signature made of them."""
