"""Mail: messages, mailboxes and Outlook's files, each with its attachments as documents of their own."""
