-- Whether any events may have an order.
SELECT EXISTS (SELECT FROM webhook.webhook AS w WHERE w.ordered) AS is_ordered
